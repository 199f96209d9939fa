//! Dissemination barrier.
//!
//! Source: Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization"
//! (International Journal of Parallel Programming 17, 1988).
//!
//! In round `j` a rank tells the one `2^j` further on that it, and all it has heard of, are here.
//! Rounds: `log2(world)`, rounded up. Bytes sent: none, for a frame's header says it all. What a
//! round says is true only after the rounds before it, and that is what the rule of empty frames
//! keeps: the send of a round waits for the receives of those before.

use super::cut::doublings;
use super::{Plan, Step};
use crate::types::{Rank, Span};

pub(super) struct Dissemination {
    rank: Rank,
    world: Rank,
}

impl Dissemination {
    pub(super) fn new(rank: Rank, world: Rank) -> Self {
        Dissemination { rank, world }
    }
}

impl Plan for Dissemination {
    fn len(&self) -> u64 {
        2 * u64::from(doublings(self.world))
    }

    fn step(&self, index: u64) -> Option<Step> {
        let far = 1 << (index / 2);
        let nothing = Span::output(0, 0);
        Some(if index.is_multiple_of(2) {
            Step::Send { peer: (self.rank + far) % self.world, source: nothing }
        } else {
            Step::Recv { peer: (self.rank + self.world - far) % self.world, target: nothing }
        })
    }
}
