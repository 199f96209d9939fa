//! What sessions ask for, and what becomes of their calls.

use super::check;
use super::memory::Place;
use super::queue::{Event, mix};
use super::rank::{Landing, Member, Work};
use super::world::World;
use super::{Failure, Violation};
use crate::error::Result;
use crate::session::{Action, Audience, Slot, Target};
use crate::types::{Collective, Rank, Sequence, Span};
use crate::wire::control::Message;

impl World<'_> {
    /// Does all that a rank's session asks for.
    pub(super) fn pump(&mut self, rank: Rank) -> Result<(), Failure> {
        while let Some(action) = self.member(rank).session.poll() {
            self.act(rank, action)?;
        }
        Ok(())
    }

    fn act(&mut self, rank: Rank, action: Action) -> Result<(), Failure> {
        match action {
            Action::Dial { peer, stripe } => {
                if self.members[peer as usize].drained {
                    self.queue.push(Event::LinkDown { rank, peer, stripe });
                } else {
                    self.network.dial(rank, peer, stripe, &mut self.queue);
                }
            }
            Action::Send { slot, peer, stripe, header, source, tail: _ } => {
                let source = self.place(rank, source)?;
                self.member(rank).begin(slot, Work::Send { header, source })?;
                if !self.network.offer((rank, peer, stripe), slot, &mut self.queue) {
                    let text = format!("a second send to rank {peer}");
                    return Err(self.members[rank as usize].broken(Violation::Frame, text));
                }
            }
            Action::Receive { slot, peer, stripe, expected, target } => {
                let landing = match target {
                    Target::Span(span) => Landing::Place(self.place(rank, span)?),
                    Target::Slab(slab) => Landing::Slab(slab),
                };
                let work = Work::Receive { peer, expected, landing, here: false };
                self.member(rank).begin(slot, work)?;
                if !self.network.post((peer, rank, stripe), slot, &mut self.queue) {
                    let text = format!("a second receive from rank {peer}");
                    return Err(self.members[rank as usize].broken(Violation::Frame, text));
                }
            }
            Action::Fold { slot, slab, with, into, finish, wire } => {
                let (with, into) = (self.place(rank, with)?, self.place(rank, into)?);
                self.work(rank, slot, Work::Fold { slab, with, into, finish, wire })?;
            }
            Action::Reduce { slot, with, into, finish } => {
                let (with, into) = (self.place(rank, with)?, self.place(rank, into)?);
                self.work(rank, slot, Work::Reduce { with, into, finish })?;
            }
            Action::Map { slot, source, target, map } => {
                let (source, target) = (self.place(rank, source)?, self.place(rank, target)?);
                self.work(rank, slot, Work::Map { source, target, map })?;
            }
            Action::Control { to, message } => self.tell(rank, to, &message),
            Action::Finish { sequence, result } => self.over(rank, sequence, result)?,
            Action::Abort { .. } => {
                self.member(rank).aborting = true;
                self.queue.push(Event::Drained { rank });
            }
            // Meant for people; the clock says it again as an error.
            Action::Warn { .. } => {}
        }
        Ok(())
    }

    /// Begins something that this rank's processor does.
    fn work(&mut self, rank: Rank, slot: Slot, work: Work) -> Result<(), Failure> {
        self.member(rank).begin(slot, work)?;
        self.queue.push(Event::Worked { rank, slot });
        Ok(())
    }

    /// Where a span of the running call lies; the call's memory comes to be at its first use.
    fn place(&mut self, rank: Rank, span: Span) -> Result<Place, Failure> {
        let scenario = self.scenario;
        let member = self.member(rank);
        let sequence = member.session.finished();
        if member.memory.as_ref().is_none_or(|(of, _)| *of != sequence) {
            let calling = &scenario.calls[sequence as usize];
            let own_lens = member.own_lens[sequence as usize];
            let params = calling.params_of(rank);
            let memory = check::memory(&params, calling.in_place, rank, own_lens);
            member.memory = Some((sequence, memory));
        }
        let place = member.memory.as_ref().and_then(|(_, memory)| memory.place(span));
        place.ok_or_else(|| member.broken(Violation::Frame, format!("{span:?} is out of bounds")))
    }

    fn tell(&mut self, rank: Rank, to: Audience, message: &Message) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let frame: std::rc::Rc<[u8]> = frame.into();
        let readers = match to {
            Audience::Rank(to) => to..to + 1,
            Audience::Everyone => 0..self.scenario.world,
        };
        for to in readers.filter(|to| *to != rank) {
            self.queue.push(Event::Control { to, frame: frame.clone() });
        }
    }

    /// A call is over for a rank.
    pub(super) fn over(
        &mut self,
        rank: Rank,
        sequence: Sequence,
        result: Result<()>,
    ) -> Result<(), Failure> {
        let calling = &self.scenario.calls[sequence as usize];
        let params = calling.params_of(rank);
        let collective = params.call.collective;
        let barrier = collective == Collective::Barrier;
        let away = |member: &&Member| !member.is_in(sequence);
        let away = barrier.then(|| self.members.iter().find(away).map(Member::rank)).flatten();
        let member = &mut self.members[rank as usize];
        if result.is_ok() && !member.is_in(sequence) || member.outcomes[sequence as usize].is_some()
        {
            let text = format!("call {sequence} ends out of turn or twice");
            return Err(member.broken(Violation::Frame, text));
        }
        if member.is_in(sequence) && !member.holds_nothing() {
            return Err(member.broken(Violation::LentWrite, "memory goes back while it is lent"));
        }
        match &result {
            Err(error) if !self.faulty => {
                return Err(member.broken(Violation::Failed, error.to_string()));
            }
            Err(_) => {}
            Ok(()) => {
                if let Some(away) = away {
                    let text = format!("leaves the barrier before rank {away} came");
                    return Err(member.broken(Violation::Barrier, text));
                }
                let memory = member.memory.take().filter(|(of, _)| *of == sequence);
                let memory = memory.map_or_else(
                    || check::memory(&params, calling.in_place, rank, [0; 2]),
                    |(_, held)| held,
                );
                let order = check::result(calling, &params, rank, &memory, &self.symbols).map_err(
                    |(violation, text)| {
                        let text =
                            format!("rank {rank} after call {sequence}, {calling:?}: {text}");
                        Failure { violation, text }
                    },
                )?;
                let known = &mut self.orders[sequence as usize];
                if check::is_one_for_all(collective) {
                    // The same elements on every rank, so in the same order too.
                    if *known.get_or_insert(order) != order && calling.mistake.is_none() {
                        let text = "its result was folded in another order than another rank's";
                        return Err(member.broken(Violation::Order, text));
                    }
                } else {
                    // Ranks end in any order, so what sums up their orders may not depend on it.
                    let order = mix(order ^ u64::from(rank));
                    *known = Some(known.unwrap_or_default().wrapping_add(order));
                }
            }
        }
        member.outcomes[sequence as usize] = Some(result);
        Ok(())
    }
}
