//! Links between ranks: which are open, and who is ready at either end of each direction.

use std::collections::HashMap;

use super::queue::{Event, Queue, Quick, Random};
use crate::session::Slot;
use crate::types::Rank;

/// One direction of a link: at most one frame at either end, and none in between.
#[derive(Clone, Copy, Default)]
pub(super) struct Wire {
    send: Option<Slot>,
    receive: Option<Slot>,
}

/// One connection between two ranks.
#[derive(Clone, Copy, Default)]
struct Pair {
    opening: bool,
    /// Ends that know it is open.
    ends_up: u8,
    /// Ends that do not know yet that it broke.
    ends_to_tell: u8,
    /// Somebody asked for it again meanwhile.
    wanted: bool,
}

/// Two ranks and a stripe between them: from and to for a direction, the lower rank first for a connection.
type Line = (Rank, Rank, u8);

#[derive(Default)]
pub(super) struct Network {
    wires: HashMap<Line, Wire, Quick>,
    pairs: HashMap<Line, Pair, Quick>,
    /// Pairs in the order in which they were first dialled, so that chance can pick one.
    order: Vec<Line>,
}

impl Network {
    /// A frame waits to be sent. `false` where one does already.
    pub(super) fn offer(&mut self, line: Line, slot: Slot, queue: &mut Queue) -> bool {
        let (from, to, stripe) = line;
        let wire = self.wires.entry(line).or_default();
        let free = wire.send.replace(slot).is_none();
        if wire.receive.is_some() {
            queue.push(Event::Transfer { from, to, stripe });
        }
        free
    }

    /// A receive is posted. `false` where one is already.
    pub(super) fn post(&mut self, line: Line, slot: Slot, queue: &mut Queue) -> bool {
        let (from, to, stripe) = line;
        let wire = self.wires.entry(line).or_default();
        let free = wire.receive.replace(slot).is_none();
        if wire.send.is_some() {
            queue.push(Event::Transfer { from, to, stripe });
        }
        free
    }

    /// The slots of both ends, if both are still there; the wire is free again.
    pub(super) fn take(&mut self, line: Line) -> Option<(Slot, Slot)> {
        let wire = self.wires.get_mut(&line)?;
        let both = (wire.send?, wire.receive?);
        *wire = Wire::default();
        Some(both)
    }

    pub(super) fn dial(&mut self, rank: Rank, peer: Rank, stripe: u8, queue: &mut Queue) {
        let key = key(rank, peer, stripe);
        let pair = self.pairs.entry(key).or_insert_with(|| {
            self.order.push(key);
            Pair::default()
        });
        if pair.ends_to_tell > 0 {
            pair.wanted = true;
        } else if !pair.opening {
            pair.opening = true;
            queue.push(Event::LinkUp { rank, peer, stripe });
            queue.push(Event::LinkUp { rank: peer, peer: rank, stripe });
        }
    }

    /// One end learns that the link is open.
    pub(super) fn link_up(&mut self, rank: Rank, peer: Rank, stripe: u8) {
        self.pairs.entry(key(rank, peer, stripe)).or_default().ends_up += 1;
    }

    /// One end learns that the link is broken.
    pub(super) fn link_down(&mut self, rank: Rank, peer: Rank, stripe: u8, queue: &mut Queue) {
        let pair = self.pairs.entry(key(rank, peer, stripe)).or_default();
        pair.ends_to_tell = pair.ends_to_tell.saturating_sub(1);
        if pair.ends_to_tell == 0 && std::mem::take(&mut pair.wanted) {
            self.dial(rank, peer, stripe, queue);
        }
    }

    /// Breaks a link that is open at both ends, if there is one: what was about to move is lost.
    /// `false` where there is none.
    pub(super) fn cut(&mut self, random: &mut Random, queue: &mut Queue) -> bool {
        let up: Vec<_> =
            self.order.iter().copied().filter(|pair| self.pairs[pair].ends_up == 2).collect();
        if up.is_empty() {
            return false;
        }
        let (a, b, stripe) = up[random.below(up.len())];
        self.wires.remove(&(a, b, stripe));
        self.wires.remove(&(b, a, stripe));
        self.pairs.insert((a, b, stripe), Pair { ends_to_tell: 2, ..Pair::default() });
        queue.push(Event::LinkDown { rank: a, peer: b, stripe });
        queue.push(Event::LinkDown { rank: b, peer: a, stripe });
        true
    }

    /// Closes every link of a rank, and tells those at the other ends.
    pub(super) fn close(&mut self, rank: Rank, queue: &mut Queue) {
        for &(a, b, stripe) in self.order.iter().filter(|(a, b, _)| rank == *a || rank == *b) {
            self.wires.remove(&(a, b, stripe));
            self.wires.remove(&(b, a, stripe));
            let peer = if a == rank { b } else { a };
            // An end that has yet to hear of the opening learns at that moment that it is closed.
            if self.pairs[&(a, b, stripe)].opening {
                queue.push(Event::LinkDown { rank: peer, peer: rank, stripe });
            }
        }
    }
}

fn key(rank: Rank, peer: Rank, stripe: u8) -> Line {
    (rank.min(peer), rank.max(peer), stripe)
}
