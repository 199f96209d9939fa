//! Bounded reading and writing of the few values that ranks publish and stores exchange.
//!
//! Little-endian. Every variable part stands behind its length, and a reader says beforehand how
//! long it may be at most; nothing is allocated for a length that the bytes do not bear out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads values off the front of a byte string; `None` as soon as the bytes do not fit.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A byte string behind its length.
    pub(super) fn bytes(&mut self, len_max: usize) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        if len > len_max { None } else { self.take(len) }
    }

    /// UTF-8 behind its length.
    pub(super) fn text(&mut self, len_max: usize) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(len_max)?).ok()
    }

    /// Socket addresses behind their number.
    pub(super) fn addresses(&mut self, count_max: usize) -> Option<Vec<SocketAddr>> {
        let count = self.u8()? as usize;
        if count > count_max {
            return None;
        }
        (0..count)
            .map(|_| {
                let ip = match self.u8()? {
                    4 => IpAddr::from(Ipv4Addr::from(self.array::<4>()?)),
                    6 => IpAddr::from(Ipv6Addr::from(self.array::<16>()?)),
                    _ => return None,
                };
                Some(SocketAddr::new(ip, self.u16()?))
            })
            .collect()
    }

    /// Whether everything has been read, as a complete message must be.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Appends values to a byte string, in the form that [`Reader`] reads.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(value.len() as u32).raw(value)
    }

    /// At most 255 addresses; the scope of an IPv6 address means nothing elsewhere and stays here.
    pub(super) fn addresses(&mut self, addresses: &[SocketAddr]) -> &mut Self {
        self.u8(addresses.len() as u8);
        for address in addresses {
            match address.ip() {
                IpAddr::V4(ip) => self.u8(4).raw(&ip.octets()),
                IpAddr::V6(ip) => self.u8(6).raw(&ip.octets()),
            };
            self.u16(address.port());
        }
        self
    }
}

/// The front of a text that fits into so many bytes, cut between characters.
pub(super) fn clip(text: &str, len_max: usize) -> &str {
    &text[..text.floor_char_boundary(len_max)]
}
