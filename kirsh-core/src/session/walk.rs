//! The walk through a plan: which steps are taken in, which of them may go on, and when the
//! operation is through.

use super::action::{Action, Slot, Target};
use super::links::LinkState;
use super::window::Phase;
use super::{Current, Session, State};
use crate::plan::{Map, Step};
use crate::types::Rank;
use crate::wire::header::{FrameKind, Header};

/// Steps at the end of a plan whose sends count as its tail: a slice's send and receive through two
/// turns, twice.
const TAIL_STEPS: u64 = 8;

impl Session {
    /// P-12: the next operation, once the one before it is through.
    pub(super) fn begin_next(&mut self) -> bool {
        let Some((sequence, operation)) = self.queue.pop_front() else { return false };
        self.watch.begin(self.now_ns, self.settings.warn_after_ns, operation.deadline_ns);
        let plan_len = operation.plan.len();
        self.current = Some(Current { sequence, operation, cursor: 0, plan_len });
        self.compare_with_early_news();
        matches!(self.state, State::Open) || !self.outbox.is_empty()
    }

    /// Takes steps into the window while there is room.
    pub(super) fn admit(&mut self) {
        let Some(current) = &mut self.current else { return };
        while current.cursor < current.plan_len && self.window.has_room() {
            let step = current.operation.plan.step(current.cursor);
            current.cursor += 1;
            // P-13: an empty share is no step, and takes no number on its link.
            let Some(mut step) = step else { continue };
            current.operation.alias.rewrite(&mut step);
            if let Step::Map { source, target, map: Map::Copy } = step
                && source == target
            {
                continue;
            }
            let slot = self.window.admit(step);
            if let Step::Send { peer, .. }
            | Step::Recv { peer, .. }
            | Step::RecvReduce { peer, .. } = step
            {
                let stripes = self.settings.dealing.stripes(peer, current.operation.stripes);
                let pattern = &self.settings.dealing.pattern;
                // P-11, P-60
                let turn = self.links.take_turn(peer, current.sequence, slot, &step, |frame| {
                    pattern.stripe(frame, stripes)
                });
                self.window.queue_behind(slot, turn.link, turn.behind);
                self.window[slot].frame = turn.number;
            }
        }
    }

    /// The next action of a live step, if one can go on.
    pub(super) fn issue(&mut self) -> Option<Action> {
        while let Some(slot) = self.window.next_attention() {
            if let Some(action) = self.issue_slot(slot) {
                return Some(action);
            }
        }
        None
    }

    fn issue_slot(&mut self, slot: Slot) -> Option<Action> {
        let live = &self.window[slot];
        let step = live.step;
        match (step, live.phase) {
            (Step::Send { peer, source }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) || !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot) {
                    return self.dial(slot, peer);
                }
                self.window[slot].phase = Phase::Sending;
                let header = self.frame_header(slot, source.len);
                let (stripe, tail) = (self.stripe(slot), self.is_tail(slot));
                Some(Action::Send { slot, peer, stripe, header, source, tail })
            }
            (Step::Recv { peer, target }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) || !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot) {
                    return self.dial(slot, peer);
                }
                self.window[slot].phase = Phase::Receiving;
                let expected = self.frame_header(slot, target.len);
                let (stripe, target) = (self.stripe(slot), Target::Span(target));
                Some(Action::Receive { slot, peer, stripe, expected, target })
            }
            (Step::RecvReduce { peer, .. }, Phase::Waiting) => {
                if !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot) {
                    return self.dial(slot, peer);
                }
                let link = self.window[slot].link;
                let slab = self.links.take_slab(link)?;
                self.window[slot].slab = Some(slab);
                self.window[slot].phase = Phase::Receiving;
                let expected = self.frame_header(slot, step.frame_len());
                let (stripe, target) = (self.stripe(slot), Target::Slab(slab));
                Some(Action::Receive { slot, peer, stripe, expected, target })
            }
            (Step::RecvReduce { with, into, finish, wire, .. }, Phase::Received) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                let slab = self.window[slot].slab?;
                self.window[slot].phase = Phase::Folding;
                Some(Action::Fold { slot, slab, with, into, finish, wire })
            }
            (Step::Reduce { with, into, finish }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                self.window[slot].phase = Phase::Folding;
                Some(Action::Reduce { slot, with, into, finish })
            }
            (Step::Map { source, target, map }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                self.window[slot].phase = Phase::Folding;
                Some(Action::Map { slot, source, target, map })
            }
            _ => None,
        }
    }

    /// Whether few steps are left behind this one.
    fn is_tail(&self, slot: Slot) -> bool {
        let is_all =
            self.current.as_ref().is_some_and(|current| current.cursor == current.plan_len);
        is_all && self.window.steps_behind(slot) < TAIL_STEPS
    }

    fn link_is_up(&self, slot: Slot) -> bool {
        self.links[self.window[slot].link].state == LinkState::Up
    }

    fn stripe(&self, slot: Slot) -> u8 {
        self.links[self.window[slot].link].stripe
    }

    /// Asks once for the link that this slot needs.
    fn dial(&mut self, slot: Slot, peer: Rank) -> Option<Action> {
        let link = self.window[slot].link;
        if self.links[link].state != LinkState::Down {
            return None;
        }
        self.links[link].state = LinkState::Dialing;
        Some(Action::Dial { peer, stripe: self.links[link].stripe })
    }

    /// What is sent, and what must come: a peer's frame equals what this rank would write. P-14
    fn frame_header(&self, slot: Slot, length: u64) -> Header {
        let current = self.current.as_ref().expect("a live step belongs to an operation");
        Header {
            kind: FrameKind::Collective,
            communicator: self.settings.communicator,
            epoch: self.settings.epoch,
            step: self.window[slot].frame,
            sequence: current.sequence,
            key: current.operation.key,
            length: length as u32,
            call: Some(current.operation.call),
            // P-16: with or without payload.
            checksummed: self.settings.checksums,
        }
    }

    pub(super) fn expected_header(&self, slot: Slot) -> Header {
        self.frame_header(slot, self.window[slot].step.frame_len())
    }

    pub(super) fn finish_current(&mut self) -> bool {
        let done = self
            .current
            .as_ref()
            .is_some_and(|current| current.cursor == current.plan_len && self.window.is_empty());
        if done && let Some(current) = self.current.take() {
            self.watch.remember(current.sequence, current.operation.key, current.operation.call);
            self.outbox.push_back(Action::Finish { sequence: current.sequence, result: Ok(()) });
            self.meet_failure_ahead();
        }
        done
    }
}
