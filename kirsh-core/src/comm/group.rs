//! Communicators made from communicators.
//!
//! Each of these calls is one allgather of the parent, in which every rank says what it called and
//! which group it wants. All then see the same, and come to the same group or the same error; what
//! the new communicator is called on the wire follows from what they agree on (P-45).

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::call::nameless;
use super::{Birth, Communicator, Inner, Options};
use crate::driver::lane::Makings;
use crate::driver::members::Members;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::memory::Pool;
use crate::model::Layout;
use crate::session::Settings;
use crate::types::{Call, Collective, Rank, ReduceOp, Sequence};

/// How many slabs each link owns: one is folded from while the next fills.
pub(super) const SLABS_PER_LINK: u8 = 2;

/// What lies before the rest in the hash that names a group. P-45
const ID_PREFIX: &[u8] = b"kirsh group 1";

/// Ranks of a list that an error shows.
const RANKS_SHOWN: usize = 16;

/// What a rank says it called, 16 bytes in four numbers.
type Word = [u32; WORD];
const WORD: usize = 4;

/// Which of the calls it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Split = 1,
    Dup = 2,
    Subgroup = 3,
}

impl Made {
    /// Its allgather, as peers see it.
    fn call(self) -> Call {
        let op = match self {
            Made::Split => ReduceOp::Prod,
            Made::Dup => ReduceOp::Min,
            Made::Subgroup => ReduceOp::Max,
        };
        Call { op, ..nameless(Collective::Allgather) }
    }

    fn name(self) -> &'static str {
        self.call().name()
    }

    /// An error of its allgather, which has this number, as one of this call, also where others failed
    /// before this rank had begun. What ended the communicator earlier keeps its name.
    fn named(self, error: Error, sequence: Sequence) -> Error {
        match error.sequence() {
            Some(about) if about == sequence => error.with_operation(self.name(), Some(sequence)),
            _ => error,
        }
    }

    fn name_of(number: u32) -> &'static str {
        let all = [Made::Split, Made::Dup, Made::Subgroup];
        all.into_iter().find(|made| *made as u32 == number).map_or("something else", Made::name)
    }
}

impl Communicator {
    /// Makes a communicator of the ranks that name the same `color`. Its ranks are in the order of
    /// `key`, and those with equal keys in the order that they have here. A rank that names no
    /// color gets no communicator, but calls all the same.
    ///
    /// Collective, and blocks until every rank of this communicator has called; it has its place in
    /// the order of calls, and `options` hold for it as for an allgather. The new communicator is the
    /// caller's and independent of this one, which goes on as before and may be closed first.
    /// It takes its timeout, its table of choice and its priority from here. Connections for its
    /// data open when a call first needs them.
    ///
    /// # Errors
    /// `Mismatch` on every rank, with scope `Call`, when ranks made different calls of this kind;
    /// otherwise what an allgather fails with.
    pub fn split(
        &self,
        color: Option<u32>,
        key: i32,
        options: &Options<'_>,
    ) -> Result<Option<Communicator>> {
        let word = [Made::Split as u32, color.is_some().into(), color.unwrap_or(0), key as u32];
        let (sequence, words) = self.exchange(Made::Split, word, options)?;
        let Some(color) = color else { return Ok(None) };
        let mut ranks: Vec<(i32, Rank)> = words
            .iter()
            .zip(0..)
            .filter(|(word, _)| word[1..3] == [1, color])
            .map(|(word, rank)| (word[3] as i32, rank))
            .collect();
        ranks.sort_unstable();
        let ranks = ranks.into_iter().map(|(_, rank)| rank).collect();
        self.make(Made::Split, sequence, color, ranks, self.0.lane.priority).map(Some)
    }

    /// Makes a communicator of the same ranks, so that calls which do not depend on one another need
    /// not wait for one another.
    ///
    /// `priority` is this rank's own affair. Where several communicators have started operations at
    /// a time, the progress thread serves them in turns, and within each turn those of higher
    /// priority first; a communicator that was created has priority 0. It shares out no bandwidth,
    /// and a blocking call that drives itself from the calling thread takes no notice of it.
    ///
    /// Collective and blocking, as [`Communicator::split`].
    ///
    /// # Errors
    /// As for [`Communicator::split`].
    pub fn dup(&self, priority: i32, options: &Options<'_>) -> Result<Communicator> {
        let (sequence, _) = self.exchange(Made::Dup, [Made::Dup as u32, 0, 0, 0], options)?;
        self.make(Made::Dup, sequence, 0, (0..self.0.size).collect(), priority)
    }

    /// Makes a communicator of these ranks of this one, in the order of the list. Every rank of this
    /// communicator calls with the same list; those that are not in it get no communicator.
    ///
    /// Collective and blocking, as [`Communicator::split`].
    ///
    /// # Errors
    /// `InvalidArgument` for a list that is empty, names a rank twice or one that does not exist:
    /// the call is refused, and the peers told. `Mismatch` on every rank, with scope `Call`, naming
    /// two ranks and their lists, when lists differ. Otherwise as for [`Communicator::split`].
    pub fn subgroup(&self, ranks: &[Rank], options: &Options<'_>) -> Result<Option<Communicator>> {
        if let Err(error) = self.check_list(ranks) {
            return Err(self.refuse_unprepared(Made::Subgroup.call(), error));
        }
        let hash = hash_of(ranks);
        let word = [Made::Subgroup as u32, ranks.len() as u32, hash[0], hash[1]];
        let (sequence, words) = self.exchange(Made::Subgroup, word, options)?;
        if let Some(other) = (0..).zip(&words).find(|(_, word)| **word != words[0]) {
            return Err(self.lists_differ(ranks, words[0], other, sequence, options));
        }
        if !ranks.contains(&self.0.rank) {
            return Ok(None);
        }
        let priority = self.0.lane.priority;
        self.make(Made::Subgroup, sequence, 0, Vec::from(ranks), priority).map(Some)
    }

    /// The rank that each rank of this communicator, in order, has in the one that was created first.
    /// Messages about processes, and the log, name these where they differ.
    pub fn world_ranks(&self) -> Vec<Rank> {
        Vec::from(self.0.lane.members.world_ranks())
    }

    fn check_list(&self, ranks: &[Rank]) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if ranks.is_empty() {
            return invalid("a subgroup has at least one rank".to_owned());
        }
        let size = self.0.size;
        let mut seen = vec![false; size as usize];
        for rank in ranks {
            match seen.get_mut(*rank as usize) {
                None => {
                    return invalid(format!("{rank} is not a rank of this communicator of {size}"));
                }
                Some(seen) if *seen => {
                    return invalid(format!("rank {rank} is twice in the list of a subgroup"));
                }
                Some(seen) => *seen = true,
            }
        }
        Ok(())
    }

    /// Every rank's word, and the number of the call that gathered them.
    fn exchange(
        &self,
        made: Made,
        word: Word,
        options: &Options<'_>,
    ) -> Result<(Sequence, Vec<Word>)> {
        let words = vec![0u32; WORD * self.0.size as usize];
        let work = self.start_made(made.call(), Vec::from(word), words, options)?;
        let sequence = work.sequence();
        let (_, words) = work.wait().map_err(|(error, _)| made.named(error, sequence))?;
        let words: Vec<Word> = Vec::from(words.as_chunks::<WORD>().0);
        if let Some((rank, other)) = (0..).zip(&words).find(|(_, word)| word[0] != words[0][0]) {
            let text = format!(
                "ranks called different things: rank 0 called {}, rank {rank} called {}",
                Made::name_of(words[0][0]),
                Made::name_of(other[0])
            );
            return Err(self.fail_made(
                made,
                sequence,
                Error::new(ErrorKind::Mismatch, text),
                rank,
            ));
        }
        Ok((sequence, words))
    }

    /// Two ranks' lists, told to all.
    fn lists_differ(
        &self,
        own: &[Rank],
        first: Word,
        (rank, other): (Rank, &Word),
        sequence: Sequence,
        options: &Options<'_>,
    ) -> Error {
        let options = Options { timeout: options.timeout, ..Options::default() };
        let list_of = |root: Rank, word: &Word| -> Result<String> {
            // Ranks that disagree have told how long their lists are, so that all know what comes.
            let len = (word[1] as usize).min(self.0.size as usize);
            let mut list = if self.0.rank == root { Vec::from(own) } else { vec![0; len] };
            self.broadcast(&mut list, root, &options)?;
            let more = if len > RANKS_SHOWN { ", ..." } else { "" };
            let shown: Vec<String> = list.iter().take(RANKS_SHOWN).map(Rank::to_string).collect();
            Ok(format!("[{}{more}]", shown.join(", ")))
        };
        let lists = list_of(0, &first).and_then(|list| Ok((list, list_of(rank, other)?)));
        match lists {
            Ok((mine, theirs)) => {
                let text = format!(
                    "ranks named different lists: rank 0 named {mine}, rank {rank} named {theirs}"
                );
                self.fail_made(
                    Made::Subgroup,
                    sequence,
                    Error::new(ErrorKind::Mismatch, text),
                    rank,
                )
            }
            Err(error) => error,
        }
    }

    fn fail_made(&self, made: Made, sequence: Sequence, error: Error, peer: Rank) -> Error {
        let error = error.with_rank(self.0.rank).with_peer(peer);
        self.0.name_peer(error.with_operation(made.name(), Some(sequence)))
    }

    /// The communicator of these ranks of this one, of which this rank is one.
    fn make(
        &self,
        made: Made,
        sequence: Sequence,
        color: u32,
        ranks: Vec<Rank>,
        priority: i32,
    ) -> Result<Communicator> {
        let parent = &*self.0;
        let world_ranks: Vec<Rank> =
            ranks.iter().map(|rank| parent.lane.members.world_rank(*rank)).collect();
        let hosts = parent.process.hosts(&world_ranks);
        let rank = ranks.iter().position(|rank| *rank == parent.rank).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a rank makes no communicator that it is not in")
        })?;
        let members = Members::new(world_ranks);
        let local = if members == *parent.lane.members {
            // Also where a launcher has its own view of it.
            parent.local
        } else {
            place(&hosts, rank)
        };
        let world = ranks.len() as u32;
        let settings = Settings {
            rank: rank as Rank,
            world,
            communicator: id(parent.lane.key.0, parent.lane.key.1, sequence, color),
            ..parent.settings.clone()
        };
        let (spin_ns, zero_copy) = (parent.lane.spin_ns, parent.lane.sending.zero_copy);
        let stripes_near = parent.plans.forced().stripes.is_some();
        let rails = parent.lane.rails().cloned();
        let inner = Inner::on(Birth {
            process: parent.process.clone(),
            settings,
            makings: Makings {
                members,
                pool: pool(world),
                priority,
                stripes_near,
                rails,
                spin_ns,
                zero_copy,
                further: None,
            },
            local,
            launched: parent.launched,
            timeout: parent.timeout,
            plans: parent.plans.for_layout(layout_of(&hosts)),
        });
        let inner = inner.map_err(|error| {
            error.with_rank(parent.rank).with_operation(made.name(), Some(sequence))
        })?;
        Ok(Communicator(inner.into()))
    }
}

/// Receive slabs for a communicator of so many ranks.
pub(super) fn pool(world: u32) -> Pool {
    let per_peer = usize::from(SLABS_PER_LINK) * usize::from(limits::STRIPES_MAX);
    Pool::new(limits::SLICE_BYTES_MAX, world as usize * per_peer)
}

/// How ranks on these hosts lie.
pub(super) fn layout_of(hosts: &[u64]) -> Layout {
    let mut ranks: HashMap<u64, u32> = HashMap::new();
    for host in hosts {
        *ranks.entry(*host).or_default() += 1;
    }
    let ranks_per_host_max = ranks.values().copied().max().unwrap_or(1);
    Layout { world: hosts.len() as u32, ranks_per_host_max }
}

/// A rank's place among those of its host, and how many these are.
fn place(hosts: &[u64], rank: usize) -> (u32, u32) {
    let near = |hosts: &[u64], host| hosts.iter().filter(|other| **other == host).count() as u32;
    (near(&hosts[..rank], hosts[rank]), near(hosts, hosts[rank]))
}

/// P-45
pub(super) fn id(parent: u64, epoch: u32, sequence: Sequence, color: u32) -> u64 {
    let mut hash = Sha256::new_with_prefix(ID_PREFIX);
    hash.update(parent.to_le_bytes());
    hash.update(epoch.to_le_bytes());
    hash.update(sequence.to_le_bytes());
    hash.update(color.to_le_bytes());
    first_8(&hash.finalize())
}

/// 64 bits that stand for a list of ranks.
fn hash_of(ranks: &[Rank]) -> [u32; 2] {
    let mut hash = Sha256::new();
    ranks.iter().for_each(|rank| hash.update(rank.to_le_bytes()));
    let hash = first_8(&hash.finalize());
    [hash as u32, (hash >> 32) as u32]
}

/// The first 64 bits of a hash.
fn first_8(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
