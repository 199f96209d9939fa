//! All ranks and what happens to them, one event at a time.

use std::sync::Arc;

use super::check;
use super::memory::Symbols;
use super::network::Network;
use super::queue::{Event, Queue, Random};
use super::rank::{Member, Work};
use super::{Calling, Failure, Fault, Report, Scenario, Violation};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Params, Plan, build};
use crate::session::{Dealing, Operation, Session, Settings};
use crate::types::Rank;
use crate::wire::control::ControlReader;
use crate::wire::header::Header;
use crate::wire::plan_key;

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) random: Random,
    pub(super) queue: Queue,
    pub(super) network: Network,
    pub(super) members: Vec<Member>,
    pub(super) symbols: Symbols,
    pub(super) orders: Vec<Option<u64>>,
    pub(super) events: u64,
    pub(super) now_ns: u64,
    /// Whether something was broken on purpose, so that calls may fail.
    pub(super) faulty: bool,
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
                    dealing: Dealing { pattern: scenario.pattern, ..Dealing::even() },
                });
                Member::new(session, scenario.calls.len())
            })
            .collect();
        for rank in 0..scenario.world {
            queue.push(Event::Call { rank });
        }
        let orders = vec![None; scenario.calls.len()];
        let odd = |calling: &Calling| calling.mistake.is_some() || calling.refused.is_some();
        let faulty = scenario.calls.iter().any(odd);
        World {
            scenario,
            random,
            queue,
            network: Network::default(),
            members,
            symbols: Symbols::default(),
            orders,
            events: 0,
            now_ns: 0,
            faulty,
        }
    }

    pub(super) fn run(mut self) -> Result<Report, Failure> {
        loop {
            while let Some(event) = self.queue.pop(&mut self.random) {
                self.happen(event)?;
                self.events += 1;
                self.go_wrong()?;
            }
            if !self.wait() {
                break;
            }
        }
        self.all_through()?;
        let calls = self.scenario.calls.len();
        let outcome =
            |call: usize| self.members.iter().map(|member| member.outcomes[call].clone()).collect();
        Ok(Report {
            outcomes: (0..calls).map(outcome).collect(),
            orders: self.orders,
            events: self.events,
            now_ns: self.now_ns,
            bytes_sent: self.members.iter().map(|member| member.bytes_sent).collect(),
        })
    }

    pub(super) fn member(&mut self, rank: Rank) -> &mut Member {
        &mut self.members[rank as usize]
    }

    /// Does what should go wrong, once it is time.
    fn go_wrong(&mut self) -> Result<(), Failure> {
        let Some((after, fault)) = self.scenario.fault else { return Ok(()) };
        if self.events < after || self.faulty {
            return Ok(());
        }
        match fault {
            // Before any link is up it waits for one.
            Fault::Cut => self.faulty = self.network.cut(&mut self.random, &mut self.queue),
            Fault::Abort(rank) => {
                self.faulty = true;
                let error = Error::new(ErrorKind::Aborted, "somebody lost patience");
                self.member(rank).session.abort(error);
                self.pump(rank)?;
            }
            Fault::Freeze(rank) => {
                self.faulty = true;
                self.member(rank).dead = true;
            }
            Fault::Crash(rank) => {
                self.faulty = true;
                let member = self.member(rank);
                member.dead = true;
                member.drained = true;
                self.network.close(rank, &mut self.queue);
                for other in (0..self.scenario.world).filter(|other| *other != rank) {
                    self.queue.push(Event::Gone { rank: other, peer: rank });
                }
            }
        }
        Ok(())
    }

    /// Nothing can happen now: lets the time pass until something is due. `false` if nothing is.
    fn wait(&mut self) -> bool {
        if self.scenario.timeout_ns == 0 {
            return false;
        }
        let alive = |member: &&Member| !member.dead && !member.aborting;
        let due = |member: &Member| member.session.next_deadline();
        let next = self.members.iter().filter(alive).map(due).min();
        let Some(next) = next.filter(|next| *next != u64::MAX) else { return false };
        self.now_ns = self.now_ns.max(next);
        for member in self.members.iter().filter(alive).filter(|member| due(member) <= next) {
            self.queue.push(Event::Tick { rank: member.rank() });
        }
        true
    }

    // What happens.

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        if self.members[event.kind_and_rank().1 as usize].dead {
            // What a crash closed still has to be known at the other end.
            if let Event::LinkUp { rank, peer, stripe } = event {
                self.network.link_up(rank, peer, stripe);
            } else if let Event::LinkDown { rank, peer, stripe } = event {
                self.network.link_down(rank, peer, stripe, &mut self.queue);
            }
            return Ok(());
        }
        let now_ns = self.now_ns;
        let rank = match event {
            Event::Gone { rank, peer } => {
                if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_peer_gone(peer, closed(peer));
                }
                rank
            }
            Event::Tick { rank } => {
                self.member(rank).session.handle_tick(now_ns);
                rank
            }
            Event::Call { rank } => return self.call(rank),
            Event::Transfer { from, to, stripe } => return self.transfer(from, to, stripe),
            Event::Drained { rank } => return self.drained(rank),
            Event::LinkUp { rank, peer, stripe } => {
                self.network.link_up(rank, peer, stripe);
                // The peer's listener has gone meanwhile.
                if self.members[peer as usize].drained {
                    self.member(rank).session.handle_link_down(peer, stripe, closed(peer));
                } else if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_link_up(peer, stripe);
                }
                rank
            }
            Event::LinkDown { rank, peer, stripe } => {
                self.network.link_down(rank, peer, stripe, &mut self.queue);
                if !self.members[rank as usize].aborting {
                    self.member(rank).session.handle_link_down(peer, stripe, closed(peer));
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
                let member = self.member(rank);
                if !member.aborting {
                    let is_folded = member.receive(slot);
                    member.session.handle_received(slot);
                    if !is_folded {
                        self.queue.push(Event::Verified { rank, slot });
                    }
                }
                rank
            }
            Event::Verified { rank, slot } => {
                let member = self.member(rank);
                if !member.aborting {
                    member.clear(slot);
                    member.session.handle_verified(slot);
                }
                rank
            }
            Event::Worked { rank, slot } => {
                let member = &mut self.members[rank as usize];
                if !member.aborting {
                    member.do_work(slot, &mut self.symbols)?;
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
        let params = calling.params_of(rank);
        if calling.refused.is_some_and(|refused| refused(rank)) {
            return self.refuse(rank, index, &params);
        }
        let plan = build(&params, rank).expect("the scenario's parameters make a plan");
        let plan: Arc<dyn Plan> =
            calling.replace.map_or(plan.clone(), |replace| replace(rank, plan));
        self.member(rank).own_lens.push([plan.scratch_len(), plan.encoded_len()]);
        let (now_ns, timeout_ns) = (self.now_ns, self.scenario.timeout_ns);
        let in_place = calling.in_place && !calling.alias_hidden;
        let alias = check::alias(&params, in_place, rank);
        let result = self.member(rank).session.enqueue(Operation {
            call: params.call,
            plan,
            key: plan_key(
                &params.call,
                params.world,
                params.slice,
                params.channels,
                params.stripes,
                params.known_counts(),
            ),
            stripes: params.stripes as u8,
            alias,
            deadline_ns: match timeout_ns {
                0 => u64::MAX,
                timeout => now_ns + timeout,
            },
        });
        if let Err(error) = result {
            self.over(rank, index, Err(error))?;
        }
        self.queue.push(Event::Call { rank });
        self.pump(rank)
    }

    /// A rank refuses the call that it should make next.
    fn refuse(&mut self, rank: Rank, index: u64, params: &Params) -> Result<(), Failure> {
        let reason = Error::new(ErrorKind::InvalidArgument, "a buffer too short");
        let member = self.member(rank);
        member.own_lens.push([0; 2]);
        // It fails either way: for this reason, or for what had failed before.
        let error = member.session.refuse(params.call, &reason).err().unwrap_or(reason);
        member.outcomes[index as usize] = Some(Err(error));
        self.queue.push(Event::Call { rank });
        self.pump(rank)
    }

    /// The frame that both ends are ready for moves.
    fn transfer(&mut self, from: Rank, to: Rank, stripe: u8) -> Result<(), Failure> {
        // Between being ready and moving the link may have broken.
        let Some((send, receive)) = self.network.take((from, to, stripe)) else { return Ok(()) };
        let sender = &self.members[from as usize];
        let Some(Work::Send { header, source, .. }) = sender.work(send).copied() else {
            return Err(sender.broken(Violation::Frame, "a send that nobody asked for"));
        };
        let payload = sender.payload(source);
        let bytes = sender.memory.as_ref().map_or(0, |(_, memory)| memory.bytes(source));
        let receiver = &mut self.members[to as usize];
        let Some(Work::Receive { expected, landing, .. }) = receiver.work(receive).copied() else {
            return Err(receiver.broken(Violation::Frame, "a receive that nobody asked for"));
        };
        // What the kernel of a failed or frozen rank still takes in, its session does not hear of.
        if !receiver.aborting && !receiver.dead {
            let header = Header::decode(&header.encode())
                .map_err(|error| receiver.broken(Violation::Frame, error.to_string()))?;
            if !receiver.session.handle_header(receive, &header) {
                return self.pump(to);
            }
            if header != expected || bytes != u64::from(header.length) {
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

    fn drained(&mut self, rank: Rank) -> Result<(), Failure> {
        self.network.close(rank, &mut self.queue);
        let member = self.member(rank);
        member.clear_all();
        member.drained = true;
        member.session.handle_drained();
        self.pump(rank)
    }

    /// Nothing can happen any more: everybody should be through with everything.
    fn all_through(&self) -> Result<(), Failure> {
        let calls = self.scenario.calls.len();
        let stuck: Vec<_> = self
            .members
            .iter()
            .filter(|member| !member.dead && !member.is_through(calls))
            .collect();
        let Some(first) = stuck.first() else { return Ok(()) };
        let mut text = format!("{} of {} ranks are stuck", stuck.len(), self.members.len());
        for member in stuck.iter().take(8) {
            text.push_str(&format!(
                "\n  rank {} in call {} of {} made, with in hand:",
                member.rank(),
                member.session.finished(),
                member.called()
            ));
            for (slot, work) in member.works() {
                text.push_str(&format!("\n    slot {slot}: {work:?}"));
            }
        }
        Err(first.broken(Violation::Deadlock, text))
    }
}

fn closed(peer: Rank) -> Error {
    Error::new(ErrorKind::PeerLost, format!("the connection to rank {peer} broke")).with_peer(peer)
}
