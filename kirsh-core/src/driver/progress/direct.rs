//! The messages from rank to rank of every communicator: this thread alone drives them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Progress;
use super::connect::Wish;
use super::loss::Loss;
use crate::driver::choose::AnyIo;
use crate::driver::clock::{Stretch, now_ns};
use crate::driver::direct::{Ask, DirectCore, TOKEN_CLASS};
use crate::driver::fork::Fd;
use crate::driver::io::Completion;
use crate::driver::lane::{Key, Lane};
use crate::limits::EARLY_LINKS_MAX;
use crate::session::direct::Side;
use crate::types::Rank;

/// The messages of every communicator, by its lane's number.
#[derive(Default)]
pub(super) struct Directs {
    cores: HashMap<u32, DirectCore>,
    /// Links for communicators that this process has not registered yet.
    early: VecDeque<(Key, Rank, Fd)>,
}

impl Directs {
    pub(super) fn register(&mut self, lane: &Arc<Lane>, io: &mut AnyIo) {
        let mut core = DirectCore::new(Arc::clone(lane));
        let (mine, others): (VecDeque<_>, VecDeque<_>) =
            self.early.drain(..).partition(|(key, ..)| *key == lane.key);
        self.early = others;
        for (_, peer, fd) in mine {
            if let Some(peer) = lane.members.rank_of(peer) {
                core.link_up(peer, Side::Inward, fd, io);
            }
        }
        self.cores.insert(lane.number, core);
    }

    /// Forgets those of a closed communicator, once their links are gone.
    pub(super) fn retire(&mut self, lane: u32) {
        if let Some(core) = self.cores.get_mut(&lane) {
            core.retired = true;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.cores.retain(|_, core| !(core.retired && core.is_quiet()));
    }

    fn of(&mut self, key: Key) -> Option<&mut DirectCore> {
        self.cores.values_mut().find(|core| core.lane.key == key)
    }

    /// How many links with this rank wait.
    fn early_of(&self, peer: Rank) -> usize {
        self.early.iter().filter(|(_, early, _)| *early == peer).count()
    }

    /// Whose completion this is, by the upper half of its token.
    pub(super) fn is_theirs(class: u32) -> bool {
        class & !(TOKEN_CLASS - 1) == TOKEN_CLASS
    }

    pub(super) fn complete(&mut self, event: Completion, io: &mut AnyIo) {
        let lane = (event.token >> 32) as u32 & (TOKEN_CLASS - 1);
        if let Some(core) = self.cores.get_mut(&lane) {
            core.complete(event.token as u32, event.result, io);
            if core.retired && core.is_quiet() {
                self.cores.remove(&lane);
            }
        }
    }

    /// This thread has waited for so long.
    pub(super) fn waited(&self, stretch: Stretch) {
        self.cores.values().for_each(|core| core.waited(stretch));
    }

    pub(super) fn next_deadline(&self) -> u64 {
        self.cores.values().map(DirectCore::next_deadline).min().unwrap_or(u64::MAX)
    }

    pub(super) fn look_at_clock(&mut self, now: u64, io: &mut AnyIo) {
        for core in self.cores.values_mut() {
            core.look_at_clock(now, io);
        }
        self.forget();
    }

    // Peers are named by their world ranks here, and by those of the communicator in its core.

    pub(super) fn lose(&mut self, peer: Rank, loss: &Loss, silent: bool, io: &mut AnyIo) {
        for core in self.cores.values_mut() {
            if let Some(peer) = core.lane.members.rank_of(peer) {
                core.peer_lost(peer, loss.of(peer), silent, io);
            }
        }
    }

    /// A member has closed a communicator, and its process goes on.
    pub(super) fn part(&mut self, key: Key, peer: Rank, loss: &Loss, io: &mut AnyIo) {
        if let Some(core) = self.of(key)
            && let Some(peer) = core.lane.members.rank_of(peer)
        {
            core.peer_lost(peer, loss.of(peer), false, io);
        }
    }

    /// Whether no connection is left.
    pub(super) fn is_quiet(&self) -> bool {
        self.cores.values().all(DirectCore::is_quiet)
    }
}

impl Progress {
    /// Something is asked of the messages of a communicator.
    pub(super) fn ask_direct(&mut self, lane: u32, ask: Ask) {
        let Some(core) = self.directs.cores.get_mut(&lane) else {
            match ask {
                Ask::Post(post) => post.refuse_closed(),
                Ask::Close(done) => done.set(Ok(())),
                Ask::Dial { .. } | Ask::Watch { .. } | Ask::Over(_) => {}
            }
            return;
        };
        let (key, members) = (core.lane.key, Arc::clone(&core.lane.members));
        let gone = |rank| self.gone.get(&rank).or_else(|| self.lanes.parted(key, rank));
        match ask {
            Ask::Dial { peer } => {
                let world_rank = members.world_rank(peer);
                match gone(world_rank) {
                    Some(loss) => core.link_failed(peer, loss.of(peer), &mut self.own.io),
                    None => self.want_direct(key, world_rank),
                }
            }
            Ask::Watch { peer } => {
                let world_rank = members.world_rank(peer);
                match gone(world_rank) {
                    Some(loss) => core.peer_lost(peer, loss.of(peer), false, &mut self.own.io),
                    None => self.want_control(world_rank),
                }
            }
            other => core.hear(other, &mut self.own.io),
        }
    }

    /// Whoever sends dials, whichever process id is lower: each direction has a link of its own, so
    /// that nobody has to be asked. P-43
    fn want_direct(&mut self, key: Key, peer: Rank) {
        self.dial(Wish { peer, lane: Some(key), direct: true, stripe: 0, way: None });
        self.want_control(peer);
    }

    pub(super) fn direct_failed(&mut self, key: Key, peer: Rank, loss: &Loss) {
        if let Some(core) = self.directs.of(key)
            && let Some(peer) = core.lane.members.rank_of(peer)
        {
            core.link_failed(peer, loss.of(peer), &mut self.own.io);
        }
    }

    /// A direct link is ready, or waits for its communicator.
    pub(super) fn direct_up(&mut self, key: Key, peer: Rank, fd: Fd, dialled_here: bool) {
        let side = if dialled_here { Side::Outward } else { Side::Inward };
        let (communicator, epoch) = key;
        if let Some(core) = self.directs.of(key) {
            if let Some(peer) = core.lane.members.rank_of(peer) {
                core.link_up(peer, side, fd, &mut self.own.io);
            }
        } else if self.lanes.is_retired(key) {
            // Its end tells the peer that nobody is here any more.
            drop(fd);
        } else if self.directs.early_of(peer) < EARLY_LINKS_MAX {
            self.directs.early.push_back((key, peer, fd));
        } else {
            tracing::warn!(
                rank = self.facts.rank,
                "closed a direct link with rank {peer} for communicator {communicator:016x}, epoch {epoch}: this rank has not made it yet, and holds at most {EARLY_LINKS_MAX} such links with one rank"
            );
        }
    }

    /// Links that are being read to their end need no longer than leaving may take.
    pub(super) fn directs_have_left(&self, until_ns: u64) -> bool {
        self.directs.is_quiet() || now_ns() >= until_ns
    }
}
