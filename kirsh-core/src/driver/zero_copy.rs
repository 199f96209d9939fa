//! Sends that the kernel makes from the array itself instead of a copy of its own: whether to ask for
//! one, and what it has not given back.
//!
//! Such a send is over twice: when the frame has been taken, so that the next may follow, and when
//! the peer has acknowledged it, so that its memory may change. In between its [`Transfer`], whose
//! header is read as well, is parked here and another takes its place.

use super::link::Transfer;

/// When sends ask the kernel not to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Never.
    Off,
    /// Between hosts, and only for as long as the kernel does not copy all the same.
    Auto,
    /// Always, for tests and for measuring: between ranks of one host the kernel copies later.
    On,
}

/// Bytes of payload from which on pinning pages costs less than copying them. On NICs that take
/// memory in pieces the two are even at some 10 KiB; below a few pages the notification costs more.
const BYTES_MIN: u64 = 32 << 10;

/// How many sends in a row the kernel may copy all the same before a link stops asking. Loopback, veth
/// and NICs without scatter-gather copy every one; on others a first one may be.
const COPIED_MAX: u32 = 4;

/// What one link lends beyond a send's first completion.
pub(crate) struct Lending {
    asks: bool,
    insists: bool,
    /// Sends that the kernel has copied in a row.
    copied: u32,
    parked: Vec<Transfer>,
    spare: Vec<Transfer>,
    /// Numbers given to transfers so far; the link's first has 0.
    marks: u8,
}

impl Lending {
    /// Of a link to a peer on this host, or on another.
    pub(crate) fn new(mode: ZeroCopy, near: bool) -> Self {
        Lending {
            asks: mode == ZeroCopy::On || (mode == ZeroCopy::Auto && !near),
            insists: mode == ZeroCopy::On,
            copied: 0,
            parked: Vec::new(),
            spare: Vec::new(),
            marks: 0,
        }
    }

    /// Whether a frame with so much payload should be sent so. A tail's release is what its operation
    /// would wait for: a peer that has nothing to send acknowledges some 40 ms late.
    ///
    /// One frame at a time: from kernel 6.10 on the notifications of sends that meet in one packet are tied
    /// together, so that none comes before the last frame behind it has been acknowledged. Two ranks that
    /// each wait for the first one's memory before they read on would wait for ever.
    pub(crate) fn wants(&self, payload_len: u64, tail: bool) -> bool {
        self.asks && !tail && payload_len >= BYTES_MIN && self.parked.is_empty()
    }

    /// The kernel cannot: it has too little memory to lock, or sends of this kind are unknown to it or
    /// to the socket.
    pub(crate) fn refused(&mut self) {
        self.asks = false;
    }

    /// A frame has been taken, and the kernel still reads from it: another transfer takes its place.
    pub(crate) fn park(&mut self, sending: &mut Transfer) {
        let fresh = self.spare.pop().unwrap_or_else(|| {
            self.marks += 1;
            Transfer::marked(self.marks)
        });
        self.parked.push(std::mem::replace(sending, fresh));
    }

    /// The kernel has given a part of a parked frame back. The frame, if that was all of it: for the
    /// caller to look at, and to give to [`Lending::keep`].
    pub(crate) fn give_back(&mut self, mark: u8) -> Option<Transfer> {
        let index = self.parked.iter().position(|parked| parked.mark == mark)?;
        self.parked[index].kept -= 1;
        (self.parked[index].kept == 0).then(|| self.parked.swap_remove(index))
    }

    /// Keeps a transfer that is free for another frame.
    pub(crate) fn keep(&mut self, transfer: Transfer) {
        self.spare.push(transfer);
    }

    /// What the kernel says of a send that it has given back.
    pub(crate) fn heed(&mut self, copied: bool) {
        self.copied = if copied { self.copied + 1 } else { 0 };
        if self.asks && !self.insists && self.copied >= COPIED_MAX {
            tracing::debug!("the kernel copies what it is asked not to copy; no longer asked");
            self.asks = false;
        }
    }

    /// How many completions the kernel owes for parked frames.
    pub(crate) fn owed(&self) -> usize {
        self.parked.iter().map(|parked| parked.kept as usize).sum()
    }
}

/// Whether a send failed because it was to be made without a copy.
pub(crate) fn is_refusal(result: i32) -> bool {
    matches!(-result, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP | libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_is_lent_at_a_time() {
        let mut lending = Lending::new(ZeroCopy::On, false);
        assert!(lending.wants(BYTES_MIN, false));
        assert!(!lending.wants(BYTES_MIN - 1, false) && !lending.wants(BYTES_MIN, true));
        let mut sending = Transfer::marked(0);
        sending.kept = 1;
        lending.park(&mut sending);
        assert!(!lending.wants(BYTES_MIN, false), "the next would be tied to it");
        let back = lending.give_back(0).expect("all of it has been given back");
        lending.keep(back);
        assert!(lending.wants(BYTES_MIN, false));
    }
}
