//! Who is in a communicator: its ranks, and which processes they are.
//!
//! Processes are known by their rank in the communicator that `create` made, the *world rank*. A
//! communicator made from another counts its own ranks from 0. Lane and session speak of these, the
//! progress thread and the control messages of world ranks, and whatever passes between the two
//! is translated here.

use crate::types::Rank;
use crate::wire::control::Message;

/// The members of one communicator, in the order of their ranks there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Members {
    /// By rank.
    world_ranks: Vec<Rank>,
    /// World rank and rank, by world rank.
    ranks: Vec<(Rank, Rank)>,
}

impl Members {
    /// The processes with these world ranks, each of them once.
    pub(crate) fn new(world_ranks: Vec<Rank>) -> Self {
        let mut ranks: Vec<(Rank, Rank)> = world_ranks.iter().copied().zip(0..).collect();
        ranks.sort_unstable();
        Members { world_ranks, ranks }
    }

    /// All processes of a world of this size.
    pub(crate) fn everyone(world: u32) -> Self {
        Members::new((0..world).collect())
    }

    /// By rank.
    pub(crate) fn world_ranks(&self) -> &[Rank] {
        &self.world_ranks
    }

    /// The world rank of a member.
    pub(crate) fn world_rank(&self, rank: Rank) -> Rank {
        self.world_ranks[rank as usize]
    }

    /// The rank that a process has here, if it is a member.
    pub(crate) fn rank_of(&self, world_rank: Rank) -> Option<Rank> {
        let place = self.ranks.binary_search_by_key(&world_rank, |(world, _)| *world).ok()?;
        Some(self.ranks[place].1)
    }

    pub(crate) fn contains(&self, world_rank: Rank) -> bool {
        self.rank_of(world_rank).is_some()
    }

    /// Whether every member has its world rank here, too.
    pub(crate) fn keep_their_ranks(&self) -> bool {
        self.world_ranks.iter().copied().eq(0..self.world_ranks.len() as Rank)
    }

    /// A message of a member, as it goes out. P-22
    pub(crate) fn to_world(&self, mut message: Message) -> Message {
        match &mut message {
            Message::Stalled { origin, to, blame, .. } => {
                for rank in [origin, to, blame] {
                    *rank = self.world_rank(*rank);
                }
            }
            Message::Refused { origin, .. } => *origin = self.world_rank(*origin),
            Message::Abort { origin, about, .. } => {
                *origin = self.world_rank(*origin);
                *about = about.and_then(|rank| self.world_ranks.get(rank as usize)).copied();
            }
            Message::Heartbeat | Message::Goodbye { .. } => {}
        }
        message
    }

    /// A message that has come, as a member takes it; none if it is not from one, or blames somebody
    /// who is not. P-22
    pub(crate) fn heard_from_world(&self, mut message: Message) -> Option<Message> {
        match &mut message {
            Message::Stalled { origin, to, blame, .. } => {
                for rank in [origin, to, blame] {
                    *rank = self.rank_of(*rank)?;
                }
            }
            Message::Refused { origin, .. } => *origin = self.rank_of(*origin)?,
            Message::Abort { origin, about, .. } => {
                *origin = self.rank_of(*origin)?;
                *about = about.and_then(|rank| self.rank_of(rank));
            }
            Message::Heartbeat | Message::Goodbye { .. } => {}
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn abort(origin: Rank, about: Option<Rank>) -> Message {
        Message::Abort {
            communicator: 1,
            epoch: 2,
            origin,
            sequence: None,
            about,
            kind: ErrorKind::Aborted,
            reason: String::new(),
        }
    }

    // P-22
    #[test]
    fn a_message_goes_out_with_world_ranks_and_comes_in_with_those_of_the_communicator() {
        let members = Members::new(vec![7, 2, 5]);
        assert_eq!(members.rank_of(2), Some(1));
        assert_eq!(members.rank_of(1), None);
        let told = members.to_world(abort(0, Some(2)));
        assert_eq!(told, abort(7, Some(5)));
        assert_eq!(members.heard_from_world(told), Some(abort(0, Some(2))));
        assert_eq!(members.heard_from_world(abort(1, None)), None, "not of a member");
        assert_eq!(members.heard_from_world(abort(2, Some(0))), Some(abort(1, None)));
        assert!(!members.keep_their_ranks());
        assert!(Members::everyone(3).keep_their_ranks());
    }
}
