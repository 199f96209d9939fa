//! What becomes of operations that cannot end well: time that runs out, peers that go, and the end
//! of the communicator.

use super::{Action, Direct, Link, Operation, Phase, Request, Side, Source, State, Ticket};
use crate::error::{Error, ErrorKind};
use crate::types::Rank;

/// How long the end of a link that is needed is only suspicious: whoever fails closes its links,
/// and says why over control, which may be slower.
const SUSPICION_NS: u64 = 300_000_000;

/// How much longer than its time an operation may take whose bytes are moving: for one frame, so
/// that its memory can be given back without ending the communicator.
const GRACE_NS: u64 = 1_000_000_000;

impl Direct {
    /// The communicator is to end. Nothing more is done until it does.
    pub(super) fn fail(&mut self, error: Error) {
        if matches!(self.state, State::Open) {
            self.state = State::Failing;
            self.outbox.push_back(Action::Fail { error });
        }
    }

    /// The owner cannot go on: a peer's bytes are no frame, or there is no memory.
    pub fn handle_failure(&mut self, error: Error) {
        self.fail(error);
    }

    /// The end of a link to this peer matters: that fails the communicator, a little later.
    pub(super) fn suspect(&mut self, peer: Rank, cause: Error) {
        if let Some(lost) = self.peers.get(&peer).and_then(|peer| peer.lost.clone()) {
            return self.fail(lost);
        }
        let at_ns = self.now_ns.saturating_add(SUSPICION_NS);
        self.suspicion.get_or_insert((at_ns, cause.with_peer(peer)));
    }

    /// A connection could not be made, or has ended, and nothing of it is in flight any more.
    pub fn handle_link_down(&mut self, peer: Rank, side: Side, cause: Error) {
        let state = self.peers.entry(peer).or_default();
        let needed = match side {
            Side::Outward => {
                let needed = state.outward.is_needed();
                state.outward.link = Link::Down(cause.clone());
                needed
            }
            Side::Inward => {
                let needed = state.inward.is_needed();
                self.forget_announced(peer, cause.clone());
                needed || self.waits_for(peer)
            }
        };
        if needed {
            self.suspect(peer, cause);
        } else if side == Side::Inward {
            self.look_for_anybody();
        }
    }

    /// The process of a peer is gone, or (`silent`) has not been heard of for too long. P-28
    pub fn handle_peer_lost(&mut self, peer: Rank, cause: Error, silent: bool) {
        let waits_for = self.waits_for(peer);
        let state = self.peers.entry(peer).or_default();
        state.lost = Some(cause.clone());
        let (out, inward) = (&state.outward, &state.inward);
        // What the peer sent before may be there: only the end of its link says that all has come.
        let open = |link: &Link| matches!(link, Link::Up) && !silent;
        let fails = (out.is_needed() && !open(&out.link))
            || ((inward.is_needed() || waits_for) && !open(&inward.link));
        if fails {
            self.fail(cause);
        } else {
            self.look_for_anybody();
        }
    }

    /// Whether a receive waits for this peer and no other.
    fn waits_for(&self, peer: Rank) -> bool {
        self.posted.iter().filter_map(|ticket| self.operations.get(ticket)).any(|operation| {
            matches!(operation.request, Request::Receive { from: Source::Rank(rank), .. } if rank == peer)
        })
    }

    /// A receive from any rank waits in vain when all others have gone.
    pub(super) fn look_for_anybody(&mut self) {
        let waits =
            self.posted.iter().filter_map(|ticket| self.operations.get(ticket)).any(|operation| {
                matches!(operation.request, Request::Receive { from: Source::Any, .. })
            });
        let gone = self.peers.values().filter_map(|peer| match (&peer.inward.link, &peer.lost) {
            (Link::Down(cause), _) => Some(cause),
            (Link::Up, _) => None,
            (_, lost) => lost.as_ref(),
        });
        let (count, cause) = gone.fold((0, None), |(count, _), cause| (count + 1, Some(cause)));
        if let (true, Some(cause)) = (waits && count + 1 == self.settings.world, cause) {
            let cause = cause.clone();
            let peer = cause.peer().unwrap_or(self.settings.rank);
            self.suspect(peer, cause);
        }
    }

    /// The communicator ends. The owner takes everything back from the kernel and then reports
    /// [`Direct::handle_drained`].
    pub fn handle_over(&mut self, error: Error) {
        if matches!(self.state, State::Open | State::Failing) {
            self.state = State::Draining(error);
        }
    }

    /// Nothing is in flight any more.
    pub fn handle_drained(&mut self) {
        let State::Draining(error) = &self.state else { return };
        let error = error.clone();
        for ticket in std::mem::take(&mut self.operations).into_keys() {
            self.outbox.push_back(Action::Finish { ticket, result: Err(error.clone()) });
        }
        self.posted.clear();
        self.deadlines.clear();
        self.suspicion = None;
        self.peers.clear();
        for message in std::mem::take(&mut self.waiting).into_values() {
            if let super::matching::Body::Held { slab, .. } = message.body {
                self.free(slab);
            }
        }
        self.state = State::Over(error);
    }

    /// The time of an operation is up.
    pub(super) fn expire(&mut self, ticket: Ticket) {
        let error = self.timed_out(ticket);
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        if operation.lent {
            if operation.expired {
                return self.fail(error);
            }
            operation.expired = true;
            operation.deadline_ns = self.now_ns.saturating_add(GRACE_NS);
            self.deadlines.insert((operation.deadline_ns, ticket));
            return;
        }
        let (phase, request) = (operation.phase, operation.request);
        if let Request::Send { to, .. } = request
            && let Some(peer) = self.peers.get_mut(&to)
        {
            let out = &mut peer.outward;
            match phase {
                Phase::Announced(number) => {
                    out.announced.remove(&number);
                    out.withdrawn.push_back(number);
                }
                Phase::Cleared { number, .. } => {
                    out.cleared.retain(|other| *other != ticket);
                    out.withdrawn.push_back(number);
                }
                _ => out.queue.retain(|other| *other != ticket),
            }
            self.pump_outward(to);
        }
        match phase {
            Phase::Own(arrival) => drop(self.waiting.remove(&arrival)),
            Phase::Arriving(from, number) => self.give_up_arriving(from, number),
            _ => {}
        }
        self.finish(ticket, Err(error));
        if let Phase::Slab(arrival) = phase {
            self.offer(arrival);
        }
    }

    /// Says which operation has waited for long, and looks again later.
    pub(super) fn warn(&mut self) {
        let (now_ns, after_ns) = (self.now_ns, self.settings.warn_after_ns);
        let is_late =
            |operation: &&Operation| now_ns.saturating_sub(operation.began_ns) >= after_ns;
        let late = self.operations.values().filter(is_late).count();
        // Tickets are in the order of starting.
        let first = self.operations.values().next();
        if let Some(first) = first.filter(is_late) {
            let seconds = now_ns.saturating_sub(first.began_ns) as f64 / 1e9;
            let (what, _) = awaited(first);
            let more = match late - 1 {
                0 => String::new(),
                more => format!(", and {more} more sends and receives wait as long"),
            };
            let text = format!(
                "still waiting after {seconds:.1} s: {what}{more} (the timeout is set by the call, or by KIRSH_TIMEOUT in seconds)"
            );
            self.outbox.push_back(Action::Warn { text });
            self.warn_ns = now_ns.saturating_add(after_ns);
        } else {
            let due = first.map(|first| first.began_ns.saturating_add(after_ns));
            self.warn_ns = due.unwrap_or(u64::MAX);
        }
    }

    /// Why an operation ends without what it is for.
    pub(super) fn timed_out(&self, ticket: Ticket) -> Error {
        let Some(operation) = self.operations.get(&ticket) else {
            return Error::new(ErrorKind::Timeout, "the time was up");
        };
        let (what, peer) = awaited(operation);
        let text = format!("{what} within the time allowed (the call's timeout, or KIRSH_TIMEOUT)");
        let error = Error::new(ErrorKind::Timeout, text);
        match peer {
            Some(peer) => error.with_peer(peer),
            None => error,
        }
    }
}

/// What has not happened that an operation waits for, and who would have to do it.
fn awaited(operation: &Operation) -> (String, Option<Rank>) {
    match (operation.request, operation.phase) {
        (Request::Send { to, tag, .. }, Phase::Posted) => {
            (format!("the message with tag {tag} could not be sent to rank {to}"), Some(to))
        }
        (Request::Send { to, tag, .. }, Phase::Announced(_) | Phase::Own(_)) => {
            (format!("rank {to} has not received the message with tag {tag}"), Some(to))
        }
        (Request::Send { to, tag, .. }, _) => {
            (format!("rank {to} has not taken all of the message with tag {tag}"), Some(to))
        }
        (Request::Receive { from, tag, .. }, Phase::Posted) => {
            let from_whom = match from {
                Source::Rank(rank) => format!("rank {rank}"),
                Source::Any => "any rank".to_owned(),
            };
            let text = match tag {
                super::Tag::Is(tag) => format!("no message with tag {tag} from {from_whom}"),
                super::Tag::Any => format!("no message from {from_whom}"),
            };
            let peer = if let Source::Rank(rank) = from { Some(rank) } else { None };
            (format!("{text} has come"), peer)
        }
        (Request::Receive { .. }, phase) => {
            let peer = if let Phase::Arriving(peer, _) = phase { Some(peer) } else { None };
            ("a message has come only in part".to_owned(), peer)
        }
    }
}
