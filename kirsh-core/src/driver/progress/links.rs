//! How connections become links: which to dial, which to wait for, whom to let in.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use super::connect::{Dial, Inbound, Needs, Step, Wish, class};
use super::facts::judge;
use super::loss::Loss;
use super::{Progress, token};
use crate::driver::clock::now_ns;
use crate::driver::fork::Fd;
use crate::driver::lane::Key;
use crate::driver::link::Port;
use crate::driver::local::Address;
use crate::driver::mail::Mail;
use crate::driver::peer::Way;
use crate::driver::socket;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::HANDSHAKES_PENDING_MAX;
use crate::types::Rank;
use crate::wire::auth::Nonce;
use crate::wire::handshake::{self, Established, Hello};

/// How long a listener is left alone when no more connections can be taken.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// How long the side that is to be dialled waits before it looks whether the other is there. P-43
const PROBE_NS: u64 = 1_000_000_000;

impl Progress {
    /// Rank 0 and every other rank keep a control link, over which news reaches everybody. P-43
    pub(super) fn call_home(&mut self) {
        let peers = if self.facts.rank == 0 { 1..self.facts.peers.len() as Rank } else { 0..1 };
        for peer in peers {
            self.want_control(peer);
        }
    }

    pub(super) fn want_control(&mut self, peer: Rank) {
        if self.controls.contains_key(&peer) || self.gone.contains_key(&peer) {
            return;
        }
        let wish = Wish::control(peer);
        if self.facts.dials(peer) {
            self.dial(wish);
        } else {
            self.try_control_later(peer);
        }
    }

    /// Dials a control link after a while, unless one has come about by then.
    pub(super) fn try_control_later(&mut self, peer: Rank) {
        if !self.probes.iter().any(|(_, rank)| *rank == peer) {
            self.probes.push((now_ns().saturating_add(PROBE_NS), peer));
        }
    }

    /// Whether a dial of the control link to this peer is on its way.
    pub(super) fn is_dialling(&self, peer: Rank) -> bool {
        let wish = Wish::control(peer);
        self.dials.values().any(|dial| dial.wish == wish)
    }

    pub(super) fn want_link(&mut self, lane: Key, port: Port, way: Option<Way>) {
        let Port { peer, stripe } = port;
        if let Some(loss) = self.gone.get(&peer).or_else(|| self.lanes.parted(lane, peer)) {
            let loss = loss.clone();
            return self.link_failed(lane, port, &loss);
        }
        if self.facts.dials(peer) {
            self.dial(Wish { peer, lane: Some(lane), direct: false, stripe, way });
        }
        self.want_control(peer);
    }

    pub(super) fn dial(&mut self, wish: Wish) {
        if self.dials.values().any(|dial| dial.wish == wish) {
            return;
        }
        let nonce = match fresh_nonce() {
            Ok(nonce) => nonce,
            Err(error) => {
                let text = format!(" cannot be dialled: {}", error.message());
                return self.dial_failed(wish, Loss::new(error.kind(), "", text));
            }
        };
        let facts = &self.facts;
        let (communicator, epoch) = wish.lane.unwrap_or((0, 0));
        let hello = Hello {
            job: facts.job.clone(),
            world: facts.peers.len() as u32,
            process: facts.me().process_id,
            peer_process: facts.peers[wish.peer as usize].process_id,
            rank: facts.rank,
            peer_rank: wish.peer,
            lane: class(wish),
            channel: wish.lane.map_or(0, |key| self.lanes.channel(key)),
            stripe: wish.stripe.into(),
            communicator,
            epoch,
            byte_position: 0,
            checksums: facts.checksums,
            nonce,
        };
        let known = self.reached.get(&wish.peer).copied();
        let over_tcp = facts.addresses(wish.peer, known, wish.way).into_iter().map(Address::Tcp);
        let within = wish.lane.and_then(|_| facts.local_address(wish.peer));
        let addresses = within.into_iter().chain(over_tcp).collect();
        let mut dial = Dial::new(wish, hello, facts.secret.clone(), addresses);
        let step = dial.next_address(now_ns());
        let id = self.take_id();
        self.dial_went(id, dial, step);
    }

    pub(super) fn dial_went(&mut self, id: u32, dial: Dial, step: Step) {
        match step {
            Step::Needs(needs) => {
                self.watch(dial.descriptor(), token::of(token::DIAL, id), needs);
                self.dials.insert(id, dial);
            }
            Step::Done(fd, established) => {
                if let Some(Address::Tcp(address)) = dial.address() {
                    self.reached.insert(dial.wish.peer, address);
                }
                self.established(fd, &established, true);
            }
            Step::Exhausted(loss) => self.dial_failed(dial.wish, loss),
            // Only what was accepted fails so.
            Step::Failed(_) => {}
        }
    }

    fn link_failed(&self, lane: Key, Port { peer, stripe }: Port, loss: &Loss) {
        self.lanes.deliver(lane, peer, |peer| {
            let (port, cause) = (Port { peer, stripe }, loss.of(peer));
            Mail::LinkFailed { port, cause }
        });
    }

    fn dial_failed(&mut self, wish: Wish, loss: Loss) {
        // A refusal that came because the link is up by now is none.
        if wish.lane.is_none() && self.controls.contains_key(&wish.peer) {
            return;
        }
        // A probe that was turned down has found somebody alive, whose own dial will come.
        if wish.lane.is_none() && loss.kind() == ErrorKind::Closed {
            return self.try_control_later(wish.peer);
        }
        let peer = wish.peer;
        tracing::debug!(rank = self.facts.rank, "{}", loss.of(peer));
        match wish.lane {
            Some(lane) if wish.direct => self.direct_failed(lane, peer, &loss),
            Some(lane) => self.link_failed(lane, Port { peer, stripe: wish.stripe }, &loss),
            None => {
                // What began the doubt says more than that nobody answers any more.
                let known = self.doubts.remove(&peer).map(|(_, known)| known);
                self.facts.roll.give_up(peer, known.as_ref().unwrap_or(&loss).of(peer));
                match known {
                    Some(known) => self.lose(peer, known),
                    // It may have sent its part, said nothing more, and left.
                    None => self.depart(peer, None, loss),
                }
            }
        }
    }

    pub(super) fn accept(&mut self, index: u32) {
        // None once this process is leaving.
        let Some(listener) = self.listeners.get(index as usize) else { return };
        let descriptor = listener.as_raw_fd();
        loop {
            // P-41
            if self.inbound.len() >= HANDSHAKES_PENDING_MAX {
                return self.pause_listener(index);
            }
            let Some(listener) = self.listeners.get(index as usize) else { return };
            match socket::accept(listener.as_fd()) {
                Ok(Some((fd, from))) => {
                    let Ok(nonce) = fresh_nonce() else { continue };
                    let id = self.take_id();
                    let inbound = Inbound::new(fd, from, nonce, now_ns());
                    self.watch(
                        inbound.descriptor(),
                        token::of(token::INBOUND, id),
                        Needs::Readable,
                    );
                    self.inbound.insert(id, inbound);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(rank = self.facts.rank, %error, "cannot accept a connection");
                    return self.pause_listener(index);
                }
            }
        }
        self.watch(descriptor, token::of(token::LISTENER, index), Needs::Readable);
    }

    /// Lets connections wait in the kernel for a while: there are too many, or no descriptors.
    fn pause_listener(&mut self, index: u32) {
        self.paused.push((now_ns().saturating_add(ACCEPT_PAUSE_NS), index));
    }

    pub(super) fn advance_inbound(&mut self, id: u32) {
        let Some(inbound) = self.inbound.remove(&id) else { return };
        let facts = Arc::clone(&self.facts);
        let from = inbound.from();
        let judged = |hello: &Hello| {
            let terms = judge(&facts, hello)?;
            self.refuse_crossing(hello)?;
            Ok(terms)
        };
        match inbound.advance(judged) {
            Ok(inbound) => {
                self.watch(inbound.descriptor(), token::of(token::INBOUND, id), Needs::Readable);
                self.inbound.insert(id, inbound);
            }
            Err(Step::Done(fd, established)) => self.established(fd, &established, false),
            Err(Step::Failed(error)) if error.kind() == ErrorKind::Closed => {}
            Err(Step::Failed(error)) => {
                tracing::warn!(rank = facts.rank, %from, "refused a connection: {error}");
            }
            Err(Step::Needs(_) | Step::Exhausted(_)) => {}
        }
    }

    /// Turns down a probe while the link that this side is to dial is on its way or up. Never the
    /// other way round: whoever is to dial knows best whether a link is needed. P-43
    fn refuse_crossing(&self, hello: &Hello) -> Result<()> {
        let probe = hello.lane == handshake::Lane::Control && self.facts.dials(hello.rank);
        let up = self.controls.contains_key(&hello.rank);
        if probe && (up || self.is_dialling(hello.rank)) {
            let text = format!("rank {} dials this link itself", self.facts.rank);
            return Err(Error::new(ErrorKind::Closed, text));
        }
        Ok(())
    }

    /// Both sides know each other: the connection becomes a link.
    fn established(&mut self, fd: Fd, established: &Established, dialled_here: bool) {
        let peer = established.peer_rank;
        let options = self.facts.link_options(peer, established.hello.lane);
        if let Err(error) = socket::set_up_link(fd.as_fd(), &options) {
            // It broke at once; whoever uses it will hear so.
            tracing::debug!(rank = self.facts.rank, %error, "setting up a link");
        }
        match established.hello.lane {
            handshake::Lane::Control => self.control_up(peer, fd, dialled_here),
            handshake::Lane::Collective => {
                let key = (established.hello.communicator, established.hello.epoch);
                // P-60: looked at when it shook hands.
                let stripe = established.hello.stripe as u8;
                self.lanes.deliver_link(self.facts.rank, key, Port { peer, stripe }, fd);
            }
            handshake::Lane::Direct => {
                let key = (established.hello.communicator, established.hello.epoch);
                self.direct_up(key, peer, fd, dialled_here);
            }
            handshake::Lane::Bulk => {}
        }
    }
}

fn fresh_nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|cause| {
        Error::new(ErrorKind::System, format!("no random numbers to be had: {cause}"))
    })?;
    Ok(nonce)
}
