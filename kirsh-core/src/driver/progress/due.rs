//! What is due when: time limits of connections, probes, heartbeats, and peers that fell silent.

use std::os::fd::AsFd;

use super::connect::Wish;
use super::loss::Loss;
use super::talk::Departed;
use super::{Progress, unwatch};
use crate::driver::clock::now_ns;
use crate::driver::mail::Mail;
use crate::driver::trace::WRITE_EVERY_NS;
use crate::error::ErrorKind;
use crate::types::Rank;
use crate::wire::control::Message;

impl Progress {
    pub(super) fn next_deadline(&self) -> u64 {
        let heartbeat = self.heartbeat_ns();
        let controls = self.controls.values().map(|link| {
            link.spoke_ns
                .saturating_add(heartbeat)
                .min(link.heard_ns.saturating_add(self.facts.liveness_ns))
        });
        let dials = self.dials.values().map(|dial| dial.deadline_ns);
        let inbound = self.inbound.values().map(|inbound| inbound.deadline_ns);
        let probes = self.probes.iter().map(|(when_ns, _)| *when_ns);
        let departed = self.departed.iter().map(|departed| departed.when_ns);
        let paused = self.paused.iter().map(|(when_ns, _)| *when_ns);
        let leaving = self.leaving.iter().map(|(until_ns, _)| *until_ns);
        let leaving = leaving.filter(|until_ns| *until_ns > now_ns());
        let all = controls
            .chain(dials)
            .chain(inbound)
            .chain(probes)
            .chain(departed)
            .chain(paused)
            .chain(leaving);
        all.min()
            .unwrap_or(u64::MAX)
            .min(self.lanes.next_deadline())
            .min(self.directs.next_deadline())
            .min(self.facts.observed.trace().map_or(u64::MAX, |_| self.trace_due_ns))
    }

    /// Writes what has been traced, where its time has come.
    pub(super) fn write_trace(&mut self) {
        let Some(trace) = self.facts.observed.trace() else { return };
        let now = now_ns();
        if now >= self.trace_due_ns {
            let more = trace.write();
            self.trace_due_ns = if more { now } else { now.saturating_add(WRITE_EVERY_NS) };
        }
    }

    /// How long this process may be silent. P-28
    fn heartbeat_ns(&self) -> u64 {
        self.facts.liveness_ns / 4
    }

    pub(super) fn look_at_clock(&mut self) {
        let now = now_ns();
        let due: Vec<u32> = self
            .dials
            .iter()
            .filter(|(_, dial)| dial.deadline_ns <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(mut dial) = self.dials.remove(&id) {
                if let Some(connection) = dial.connection() {
                    unwatch(&mut self.own.io, connection);
                }
                let step = dial.time_out(now);
                let id = self.take_id();
                self.dial_went(id, dial, step);
            }
        }
        let io = &mut self.own.io;
        self.inbound.retain(|_, inbound| {
            let keep = inbound.deadline_ns > now;
            if !keep {
                unwatch(io, inbound.as_fd());
            }
            keep
        });
        let (due, later): (Vec<_>, Vec<_>) =
            self.probes.drain(..).partition(|(when, _)| *when <= now);
        self.probes = later;
        for (_, peer) in due {
            if !self.controls.contains_key(&peer) {
                self.dial(Wish::control(peer));
            }
        }
        let due: Vec<Departed> =
            self.departed.extract_if(.., |departed| departed.when_ns <= now).collect();
        for Departed { peer, lane, loss, .. } in due {
            match lane {
                Some(lane) => {
                    self.directs.part(lane, peer, &loss, &mut self.own.io);
                    self.lanes.part(lane, peer, loss);
                }
                None => self.lose(peer, loss),
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            self.paused.drain(..).partition(|(when, _)| *when <= now);
        self.paused = later;
        for (_, index) in due {
            self.accept(index);
        }
        self.directs.look_at_clock(now, &mut self.own.io);
        self.look_at_controls(now);
    }

    /// P-28
    fn look_at_controls(&mut self, now: u64) {
        let heartbeat = self.heartbeat_ns();
        let liveness = self.facts.liveness_ns;
        let quiet: Vec<Rank> = self
            .controls
            .values()
            .filter(|link| link.spoke_ns.saturating_add(heartbeat) <= now)
            .map(|link| link.peer)
            .collect();
        for peer in quiet {
            self.tell_directly(peer, &Message::Heartbeat);
        }
        let silent: Vec<Rank> = self
            .controls
            .values()
            .filter(|link| link.heard_ns.saturating_add(liveness) <= now)
            .map(|link| link.peer)
            .collect();
        for peer in silent {
            self.drop_control(peer);
            let seconds = liveness as f64 / 1e9;
            let loss = Loss::new(
                ErrorKind::PeerLost,
                "",
                format!(
                    " has been silent for {seconds:.1} s: its process is stopped, or its host is unreachable (KIRSH_LIVENESS_TIMEOUT sets how long a rank may be silent)"
                ),
            );
            self.gone.insert(peer, loss.clone());
            self.directs.lose(peer, &loss, true, &mut self.own.io);
            self.lanes.deliver_to_all(peer, |peer| Mail::PeerSilent { peer, cause: loss.of(peer) });
        }
    }
}
