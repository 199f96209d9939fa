//! What a communicator has moved, and whom it has waited for.
//!
//! The hot path counts in [`Tally`]s, which cost a load and a store. The feature `observe`, on by default,
//! has them counted at all: without it nothing here is, which serves to measure what counting costs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::io::Account;
use crate::memory::Counter;
use crate::types::{Collective, Rank};

/// Whether anything is counted and traced.
pub(crate) const OBSERVE: bool = cfg!(feature = "observe");

/// What one event adds to a count.
pub(crate) const ONE: u64 = OBSERVE as u64;

/// A count to which one thread at a time adds, so that it needs no atomic addition: the holder of a
/// lane's baton, or the progress thread. Anybody may read it.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        if OBSERVE {
            // Who adds next has been handed the lane, and with it this value.
            self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What goes to and comes from one peer over the links of one class.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_sent: Tally,
    pub(crate) bytes_received: Tally,
    pub(crate) frames_sent: Tally,
    pub(crate) frames_received: Tally,
    pub(crate) waited_ns: Tally,
}

impl Traffic {
    #[inline]
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes_sent.add(bytes);
        self.frames_sent.add(1);
    }

    #[inline]
    pub(crate) fn received(&self, bytes: u64) {
        self.bytes_received.add(bytes);
        self.frames_received.add(1);
    }

    /// For each peer, nothing so far.
    pub(crate) fn with(peers: usize) -> Box<[Traffic]> {
        std::iter::repeat_with(Traffic::default).take(peers).collect()
    }
}

/// The links of one class of a communicator. It has cache lines to itself, since another thread drives
/// those of the other class.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ClassCounters {
    /// By peer.
    pub(crate) peers: Box<[Traffic]>,
    /// Bytes sent straight from the caller's array.
    pub(crate) sent_direct: Tally,
    /// Bytes that the kernel put straight into the caller's array.
    pub(crate) received_direct: Tally,
    /// Nanoseconds in which whoever drove waited, whomever for.
    pub(crate) waited_ns: Tally,
}

impl ClassCounters {
    fn new(world: usize) -> Self {
        ClassCounters {
            peers: Traffic::with(world),
            sent_direct: Tally::default(),
            received_direct: Tally::default(),
            waited_ns: Tally::default(),
        }
    }

    #[inline]
    pub(crate) fn of(&self, peer: Rank) -> &Traffic {
        &self.peers[peer as usize]
    }

    /// Whoever drives has waited for so long, and for this peer, if for one more than for others.
    pub(crate) fn waited(&self, peer: Option<Rank>, waited_ns: u64) {
        self.waited_ns.add(waited_ns);
        if let Some(peer) = peer {
            self.of(peer).waited_ns.add(waited_ns);
        }
    }

    /// A figure of all peers together.
    pub(crate) fn sum(&self, figure: impl Fn(&Traffic) -> &Tally) -> u64 {
        self.peers.iter().map(|traffic| figure(traffic).get()).sum()
    }
}

/// System calls that drivers have made.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) enter: Tally,
    pub(crate) ppoll: Tally,
    pub(crate) sendmsg: Tally,
    pub(crate) recvmsg: Tally,
}

impl Calls {
    /// Takes over what an `Io` has counted since this was last done.
    pub(crate) fn take_from(&self, account: &mut Account) {
        if OBSERVE {
            let Account { enter, ppoll, sendmsg, recvmsg, .. } = *account;
            *account = Account { waiting_since_ns: account.waiting_since_ns, ..Account::default() };
            self.enter.add(enter);
            self.ppoll.add(ppoll);
            self.sendmsg.add(sendmsg);
            self.recvmsg.add(recvmsg);
        }
    }
}

/// One more than the highest number of a collective.
const COLLECTIVES: usize = Collective::ALL[Collective::ALL.len() - 1] as usize + 1;

/// Of one communicator.
#[derive(Debug)]
pub(crate) struct Counters {
    /// For the holder of the lane's baton.
    pub(crate) collective: ClassCounters,
    /// Operations that are over, by number of the collective; likewise.
    pub(crate) operations: [Tally; COLLECTIVES],
    /// Made by callers that drove; likewise.
    pub(crate) calls: Calls,
    /// For the progress thread.
    pub(crate) direct: ClassCounters,
    /// Messages that are over; likewise.
    pub(crate) sends: Tally,
    pub(crate) receives: Tally,
    /// Payload bytes that the library itself copied.
    pub(crate) copied: Counter,
    /// Payload bytes that the kernel sent straight from the caller's buffer.
    pub(crate) zero_copied: Counter,
    /// Those that it was to send so, and copied.
    pub(crate) copied_anyway: Counter,
}

impl Counters {
    pub(crate) fn new(world: u32) -> Self {
        Counters {
            collective: ClassCounters::new(world as usize),
            operations: Default::default(),
            calls: Calls::default(),
            direct: ClassCounters::new(world as usize),
            sends: Tally::default(),
            receives: Tally::default(),
            copied: Counter::default(),
            zero_copied: Counter::default(),
            copied_anyway: Counter::default(),
        }
    }

    /// A figure of both classes together.
    pub(crate) fn sum(&self, figure: impl Fn(&Traffic) -> &Tally) -> u64 {
        self.collective.sum(&figure) + self.direct.sum(&figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_io_has_counted_is_taken_over_once() {
        let calls = Calls::default();
        let mut account =
            Account { enter: 3, recvmsg: 2, waiting_since_ns: 9, ..Account::default() };
        calls.take_from(&mut account);
        calls.take_from(&mut account);
        assert_eq!((calls.enter.get(), calls.recvmsg.get(), calls.sendmsg.get()), (3, 2, 0));
        assert_eq!(account.waiting_since_ns, 9);
    }

    #[test]
    fn waiting_for_nobody_in_particular_counts_in_all_alone() {
        let class = ClassCounters::new(2);
        class.waited(Some(1), 5);
        class.waited(None, 7);
        assert_eq!(class.waited_ns.get(), 12);
        assert_eq!(class.sum(|traffic| &traffic.waited_ns), 5);
    }
}
