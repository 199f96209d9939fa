//! Control links: one connection to each process that this one has to do with, for liveness,
//! aborts and goodbyes. Small traffic, read and written without ever waiting.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::loss::Loss;
use super::now;
use crate::driver::fork::Fd;
use crate::error::ErrorKind;
use crate::limits::WORLD_SIZE_MAX;
use crate::types::Rank;
use crate::wire::control::{ControlReader, Message};

/// Bytes that may wait to be sent to a peer that does not read; a peer further behind is not
/// reading at all, and the liveness timeout will find it.
const BACKLOG_MAX: usize = 1 << 20;

/// What is said of a process that left in peace.
pub(super) const LEFT: &str = " has left the job: its process said goodbye";

/// How often one visit reads from a link. A frame has some hundred bytes and is rare, so that
/// whoever sends more at once is no peer in its right mind.
const READS_MAX: usize = 16;

/// One control link.
pub(super) struct ControlLink {
    pub(super) peer: Rank,
    /// Tells this link from others to the same peer, before and after it.
    pub(super) turn: u16,
    fd: Fd,
    reader: ControlReader,
    unsent: VecDeque<u8>,
    pub(super) heard_ns: u64,
    pub(super) bytes_heard: u64,
    /// Anything at all has come. A peer's first word follows its handshake at once, so that a link
    /// that ends without one is a link that it never had. P-43
    pub(super) heard: bool,
    pub(super) spoke_ns: u64,
    /// The peer's process has said goodbye. P-26
    pub(super) goodbye: bool,
    /// Nothing is said any more behind what still waits to be sent.
    ending: bool,
    /// The kernel has been asked to say when the link is writable.
    pub(super) awaits_writable: bool,
}

/// How reading from a control link went.
pub(super) enum Reading {
    /// There may be more later.
    Open,
    /// The peer has ended the stream, or it broke.
    Ended(Loss),
}

/// Ranks fit the lower half of a link's number: see [`ControlLink::id`].
const _: () = assert!(WORLD_SIZE_MAX <= 1 << 16);

/// The peer and the turn in a link's number.
pub(super) fn split(id: u32) -> (Rank, u16) {
    (id & 0xffff, (id >> 16) as u16)
}

impl AsFd for ControlLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ControlLink {
    pub(super) fn new(peer: Rank, turn: u16, fd: Fd, now_ns: u64) -> Self {
        ControlLink {
            peer,
            turn,
            fd,
            reader: ControlReader::default(),
            unsent: VecDeque::new(),
            heard_ns: now_ns,
            bytes_heard: 0,
            heard: false,
            spoke_ns: now_ns,
            goodbye: false,
            ending: false,
            awaits_writable: false,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The lower half of its tokens.
    pub(super) fn id(&self) -> u32 {
        u32::from(self.turn) << 16 | self.peer
    }

    /// Reads what is there, or a good part of it, and hands each message over. A peer that never
    /// stops talking keeps nobody else from being heard: what is left shows in the next wait.
    pub(super) fn read(&mut self, now_ns: u64, each: &mut dyn FnMut(Message)) -> Reading {
        let mut buffer = [0u8; 8192];
        for _ in 0..READS_MAX {
            match now::receive(self.descriptor(), &mut buffer) {
                Ok(0) => return Reading::Ended(self.ended("closed its control connection")),
                Ok(bytes) => {
                    // P-28: whatever it is that has come.
                    self.heard_ns = now_ns;
                    self.heard = true;
                    self.bytes_heard += bytes as u64;
                    self.reader.feed(&buffer[..bytes]);
                    loop {
                        match self.reader.next() {
                            Ok(Some(message)) => each(message),
                            Ok(None) => break,
                            Err(cause) => {
                                let text =
                                    format!(" sent a control message that cannot be: {cause}");
                                return Reading::Ended(Loss::new(cause.kind(), "", text));
                            }
                        }
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Reading::Open,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    return Reading::Ended(
                        self.ended(&format!("lost its control connection ({cause})")),
                    );
                }
            }
        }
        Reading::Open
    }

    /// Sends a message, or as much of it as fits now. `true` when the rest waits for the link to
    /// become writable.
    pub(super) fn write(&mut self, frame: &[u8], now_ns: u64) -> bool {
        self.spoke_ns = now_ns;
        if self.ending {
            return !self.unsent.is_empty();
        }
        if self.unsent.len() + frame.len() > BACKLOG_MAX {
            return true;
        }
        self.unsent.extend(frame);
        self.flush()
    }

    /// Sends what waits. `true` when some still does.
    pub(super) fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            let (head, _) = self.unsent.as_slices();
            match now::send(self.fd.as_raw_fd(), head) {
                Ok(bytes) => drop(self.unsent.drain(..bytes)),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => {
                    // Reading will find out why.
                    self.unsent.clear();
                }
            }
        }
        if self.ending {
            now::end_sending(self.descriptor());
        }
        false
    }

    /// No more will be said. The stream ends behind what still waits to be sent.
    pub(super) fn end_sending(&mut self) {
        self.ending = true;
        if self.unsent.is_empty() {
            now::end_sending(self.descriptor());
        }
    }

    fn ended(&self, how: &str) -> Loss {
        if self.goodbye {
            return Loss::new(ErrorKind::PeerLost, "", LEFT);
        }
        let text = format!(" {how} without a goodbye: it has died or was killed");
        Loss::new(ErrorKind::PeerLost, "the process of ", text)
    }
}
