//! What the kernel knows of the way that a TCP connection takes.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use socket2::SockRef;

use super::sys;

/// The way of a connection as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The largest packet that gets through, in bytes, as far as the kernel has found out.
    pub mtu: u32,
    /// Bytes of payload in each segment sent.
    pub mss: u32,
    /// Segments sent again since the connection was made.
    pub retransmits: u32,
    /// `None` where the kernel does not say.
    pub congestion_control: Option<String>,
}

/// Asks the kernel about a connection. Does not block.
///
/// # Errors
/// Where it is none any more.
pub fn path_of(stream: &TcpStream) -> io::Result<Path> {
    let info = sys::tcp_info(stream.as_fd())?;
    let name = SockRef::from(stream).tcp_congestion().unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    Ok(Path {
        mtu: info.tcpi_pmtu,
        mss: info.tcpi_snd_mss,
        retransmits: info.tcpi_total_retrans,
        congestion_control: Some(name).filter(|name| !name.is_empty()),
    })
}
