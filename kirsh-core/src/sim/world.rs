//! All ranks and what happens to them, one event at a time.

use std::sync::Arc;

use super::check;
use super::network::Network;
use super::queue::{Event, Queue, Random};
use super::rank::{Landing, Member, Work};
use super::{Failure, Report, Scenario, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Plan, build};
use crate::session::{Action, Audience, Operation, Session, Settings, Slot, Target};
use crate::types::{Collective, Rank, Sequence, Span};
use crate::wire::control::{ControlReader, Message};
use crate::wire::header::Header;
use crate::wire::plan_key;

pub(super) struct World<'a> {
    scenario: &'a Scenario,
    random: Random,
    queue: Queue,
    network: Network,
    members: Vec<Member>,
    orders: Vec<Option<u64>>,
    events: u64,
    /// Whether something was broken on purpose, so that calls may fail.
    faulty: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let mut queue = Queue::new(&mut random, scenario.world);
        let members = (0..scenario.world)
            .map(|rank| {
                let session = Session::new(Settings {
                    rank,
                    world: scenario.world,
                    communicator: 7,
                    epoch: 1,
                    look_ahead: scenario.look_ahead,
                    slabs_per_link: scenario.slabs_per_link,
                    checksums: true,
                    warn_after_ns: u64::MAX,
                });
                Member::new(session, scenario.calls.len())
            })
            .collect();
        for rank in 0..scenario.world {
            queue.push(Event::Call { rank });
        }
        let orders = vec![None; scenario.calls.len()];
        let network = Network::default();
        World { scenario, random, queue, network, members, orders, events: 0, faulty: false }
    }

    pub(super) fn run(mut self) -> Result<Report, Failure> {
        while let Some(event) = self.queue.pop(&mut self.random) {
            self.happen(event)?;
            self.events += 1;
            if self.scenario.cut_after.is_some_and(|after| after <= self.events)
                && !self.faulty
                && self.network.cut(&mut self.random, &mut self.queue).is_some()
            {
                self.faulty = true;
            }
        }
        self.all_through()?;
        let calls = self.scenario.calls.len();
        let outcome = |call: usize| {
            self.members.iter().filter_map(|member| member.outcomes[call].clone()).collect()
        };
        Ok(Report {
            outcomes: (0..calls).map(outcome).collect(),
            orders: self.orders,
            events: self.events,
            bytes_sent: self.members.iter().map(|member| member.bytes_sent).collect(),
        })
    }

    fn member(&mut self, rank: Rank) -> &mut Member {
        &mut self.members[rank as usize]
    }

    // What happens.

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        let rank = match event {
            Event::Call { rank } => return self.call(rank),
            Event::Transfer { from, to } => return self.transfer(from, to),
            Event::Drained { rank } => return self.drained(rank),
            Event::LinkUp { rank, peer } => {
                self.network.link_up(rank, peer);
                // The peer's listener has gone meanwhile.
                if self.members[peer as usize].drained {
                    self.member(rank).session.handle_link_down(peer, closed(peer));
                } else if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_link_up(peer);
                }
                rank
            }
            Event::LinkDown { rank, peer } => {
                self.network.link_down(rank, peer, &mut self.queue);
                if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_link_down(peer, closed(peer));
                }
                rank
            }
            Event::Control { to, frame } => {
                let mut reader = ControlReader::new();
                reader.feed(&frame);
                let message = reader.next().ok().flatten();
                let member = self.member(to);
                let Some(message) = message else {
                    return Err(member.broken(Violation::Frame, "an unreadable control message"));
                };
                member.session.handle_message(&message);
                to
            }
            Event::Accepted { rank, slot } => {
                if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_accepted(slot);
                    self.queue.push(Event::Released { rank, slot });
                }
                rank
            }
            Event::Released { rank, slot } => {
                let member = self.member(rank);
                if !member.aborting {
                    member.clear(slot);
                    member.session.handle_released(slot);
                }
                rank
            }
            Event::Received { rank, slot } => {
                if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_received(slot);
                    self.queue.push(Event::Verified { rank, slot });
                }
                rank
            }
            Event::Verified { rank, slot } => {
                let member = self.member(rank);
                if !member.aborting {
                    match &mut member.works[usize::from(slot.0)] {
                        Some(Work::Receive { landing: Landing::Slab(_), verified, .. }) => {
                            *verified = true;
                        }
                        work => *work = None,
                    }
                    member.session.handle_verified(slot);
                }
                rank
            }
            Event::Worked { rank, slot } => {
                let member = self.member(rank);
                if !member.aborting {
                    member.do_work(slot)?;
                    member.session.handle_folded(slot);
                }
                rank
            }
        };
        self.pump(rank)
    }

    /// A rank makes its next call.
    fn call(&mut self, rank: Rank) -> Result<(), Failure> {
        let index = self.members[rank as usize].called();
        let Some(calling) = self.scenario.calls.get(index as usize) else { return Ok(()) };
        let params = calling.params;
        let plan = build(&params, rank).expect("the scenario's parameters make a plan");
        let plan: Arc<dyn Plan> =
            calling.replace.map_or(plan.clone(), |replace| replace(rank, plan));
        self.member(rank).scratch_lens.push(plan.scratch_len());
        let aliased = calling.in_place && !calling.alias_hidden;
        let result = self.member(rank).session.enqueue(Operation {
            call: params.call,
            plan,
            key: plan_key(
                &params.call,
                params.world,
                params.slice,
                params.channels,
                params.stripes,
            ),
            input_in_output: aliased.then_some(0),
            deadline_ns: u64::MAX,
        });
        if let Err(error) = result {
            self.over(rank, index, Err(error))?;
        }
        self.queue.push(Event::Call { rank });
        self.pump(rank)
    }

    /// The frame that both ends are ready for moves.
    fn transfer(&mut self, from: Rank, to: Rank) -> Result<(), Failure> {
        // Between being ready and moving the link may have broken.
        let Some((send, receive)) = self.network.take(from, to) else { return Ok(()) };
        let sender = &self.members[from as usize];
        let Some(Work::Send { header, source, .. }) = sender.work(send).copied() else {
            return Err(sender.broken(Violation::Frame, "a send that nobody asked for"));
        };
        let payload = sender.payload(source);
        let receiver = &mut self.members[to as usize];
        let Some(Work::Receive { expected, landing, .. }) = receiver.work(receive).copied() else {
            return Err(receiver.broken(Violation::Frame, "a receive that nobody asked for"));
        };
        // What a failed rank's kernel still takes in, its session does not hear of.
        if !receiver.aborting {
            let header = Header::decode(&header.encode())
                .map_err(|error| receiver.broken(Violation::Frame, error.to_string()))?;
            if !receiver.session.handle_header(receive, &header) {
                return self.pump(to);
            }
            if header != expected || payload.len() * self.size(to) != header.length as usize {
                let text = format!("{header:?} passed for {expected:?}");
                return Err(self.members[to as usize].broken(Violation::Frame, text));
            }
            self.member(to).land(landing, payload);
            self.queue.push(Event::Received { rank: to, slot: receive });
        }
        self.member(from).bytes_sent += u64::from(header.length);
        self.queue.push(Event::Accepted { rank: from, slot: send });
        Ok(())
    }

    /// Bytes of an element of the call that a rank is in.
    fn size(&self, rank: Rank) -> usize {
        let sequence = self.members[rank as usize].session.finished();
        self.scenario.calls[sequence as usize].params.call.dtype.size()
    }

    fn drained(&mut self, rank: Rank) -> Result<(), Failure> {
        self.network.close(rank, &mut self.queue);
        let member = self.member(rank);
        member.clear_all();
        member.drained = true;
        member.session.handle_drained();
        self.pump(rank)
    }

    // What sessions ask for.

    fn pump(&mut self, rank: Rank) -> Result<(), Failure> {
        while let Some(action) = self.member(rank).session.poll() {
            self.act(rank, action)?;
        }
        Ok(())
    }

    fn act(&mut self, rank: Rank, action: Action) -> Result<(), Failure> {
        match action {
            Action::Dial { peer } => {
                if self.members[peer as usize].drained {
                    self.queue.push(Event::LinkDown { rank, peer });
                } else {
                    self.network.dial(rank, peer, &mut self.queue);
                }
            }
            Action::Send { slot, peer, header, source } => {
                let source = self.place(rank, source)?;
                self.member(rank).begin(slot, Work::Send { header, source })?;
                if !self.network.offer(rank, peer, slot, &mut self.queue) {
                    let text = format!("a second send to rank {peer}");
                    return Err(self.members[rank as usize].broken(Violation::Frame, text));
                }
            }
            Action::Receive { slot, peer, expected, target } => {
                let landing = match target {
                    Target::Span(span) => Landing::Place(self.place(rank, span)?),
                    Target::Slab(slab) => Landing::Slab(slab),
                };
                let work = Work::Receive { peer, expected, landing, verified: false };
                self.member(rank).begin(slot, work)?;
                if !self.network.post(peer, rank, slot, &mut self.queue) {
                    let text = format!("a second receive from rank {peer}");
                    return Err(self.members[rank as usize].broken(Violation::Frame, text));
                }
            }
            Action::Fold { slot, slab, with, into, finish } => {
                let (with, into) = (self.place(rank, with)?, self.place(rank, into)?);
                self.work(rank, slot, Work::Fold { slab, with, into, finish })?;
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
            Action::Warn { text } => {
                return Err(self.members[rank as usize].broken(Violation::Failed, text));
            }
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
    fn place(&mut self, rank: Rank, span: Span) -> Result<super::memory::Place, Failure> {
        let scenario = self.scenario;
        let member = self.member(rank);
        let sequence = member.session.finished();
        if member.memory.as_ref().is_none_or(|(of, _)| *of != sequence) {
            let calling = &scenario.calls[sequence as usize];
            let scratch_len = member.scratch_lens[sequence as usize];
            member.memory = Some((sequence, check::memory(calling, rank, scratch_len)));
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
    fn over(&mut self, rank: Rank, sequence: Sequence, result: Result<()>) -> Result<(), Failure> {
        let calling = &self.scenario.calls[sequence as usize];
        let barrier = calling.params.call.collective == Collective::Barrier;
        let away = self.members.iter().find(|member| barrier && !member.is_in(sequence));
        let away = away.map(Member::rank);
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
                let memory =
                    memory.map_or_else(|| check::memory(calling, rank, 0), |(_, held)| held);
                let order =
                    check::result(calling, memory.output()).map_err(|(violation, text)| {
                        let text =
                            format!("rank {rank} after call {sequence}, {calling:?}: {text}");
                        Failure { violation, text }
                    })?;
                let known = *self.orders[sequence as usize].get_or_insert(order);
                if known != order {
                    let text = "its result was folded in another order than another rank's";
                    return Err(member.broken(Violation::Order, text));
                }
            }
        }
        member.outcomes[sequence as usize] = Some(result);
        Ok(())
    }

    /// Nothing can happen any more: everybody should be through with everything.
    fn all_through(&self) -> Result<(), Failure> {
        let calls = self.scenario.calls.len();
        let stuck: Vec<_> =
            self.members.iter().filter(|member| !member.is_through(calls)).collect();
        let Some(first) = stuck.first() else { return Ok(()) };
        let mut text = format!("{} of {} ranks are stuck", stuck.len(), self.members.len());
        for member in stuck.iter().take(8) {
            text.push_str(&format!(
                "\n  rank {} in call {} of {} made, with in hand:",
                member.rank(),
                member.session.finished(),
                member.called()
            ));
            for (slot, work) in member.works.iter().enumerate() {
                if let Some(work) = work {
                    text.push_str(&format!("\n    slot {slot}: {work:?}"));
                }
            }
        }
        Err(first.broken(Violation::Deadlock, text))
    }
}

fn closed(peer: Rank) -> Error {
    Error::new(ErrorKind::PeerLost, format!("the connection to rank {peer} broke")).with_peer(peer)
}
