//! What one rank says of itself when it joins, and the table of all ranks that it gets back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::codec::{Reader, Writer, clip};
use super::rails::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::types::Rank;
use crate::wire::auth::Token;

/// What one process brings to [`join`](super::join()).
#[derive(Clone, Debug)]
pub struct Joiner {
    pub rank: Rank,
    pub world_size: u32,
    pub job_id: String,
    /// The version of the wire protocol that this build speaks.
    pub protocol: u16,
    /// How many communicators this process has created in this job before: every rank must have
    /// the same, and each generation meets under keys of its own.
    pub generation: u64,
    /// The random number that tells this process from every other.
    pub process_id: u64,
    /// As [`host_id`](super::host_id()) gives it.
    pub host_id: u64,
    /// That this process may use.
    pub cores: u32,
    pub pid: u32,
    /// For messages only.
    pub host_name: String,
    /// Where the others can reach this process, best first.
    pub addresses: Vec<SocketAddr>,
    /// Of each of them, what shows which network it is in.
    pub places: Vec<Place>,
    /// The hash of the table of choice that is built in: ranks that would choose differently must
    /// not start.
    pub table_hash: u64,
    /// What rank 0 hands out to all: opaque here, ignored on other ranks.
    pub handout: Vec<u8>,
    /// After how long a warning names the ranks that have not come, and again each time as long
    /// (`KIRSH_WARN_AFTER`); `None` never warns.
    pub warn_after: Option<Duration>,
    /// The job's token. Without one every address must be a loopback one.
    pub token: Option<Token>,
}

impl Joiner {
    /// How messages name this process.
    pub(super) fn who(&self) -> String {
        who(self.rank, &self.host_name, self.pid)
    }

    pub(super) fn member(&self) -> Member {
        Member {
            rank: self.rank,
            process_id: self.process_id,
            host_id: self.host_id,
            cores: self.cores,
            pid: self.pid,
            host_name: clip(&self.host_name, limits::HOST_NAME_MAX).to_owned(),
            addresses: self.addresses.clone(),
            // As many as there are addresses, whatever was given.
            places: (0..self.addresses.len())
                .map(|at| self.places.get(at).copied().unwrap_or_default())
                .collect(),
        }
    }
}

/// How messages name a process.
pub(super) fn who(rank: Rank, host_name: &str, pid: u32) -> String {
    format!("rank {rank} (host {host_name}, pid {pid})")
}

/// One rank of a world, as it published itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub rank: Rank,
    /// Random, drawn anew by each process.
    pub process_id: u64,
    /// Equal where two ranks share a host, and so can use loopback addresses.
    pub host_id: u64,
    /// That it may use, by its affinity and its cgroup's quota.
    pub cores: u32,
    pub pid: u32,
    /// For messages only.
    pub host_name: String,
    /// Best first. Loopback addresses lead to it only from its own host.
    pub addresses: Vec<SocketAddr>,
    /// Of each of them, what shows which network it is in.
    pub places: Vec<Place>,
}

impl Member {
    /// How messages name this process.
    pub(super) fn who(&self) -> String {
        who(self.rank, &self.host_name, self.pid)
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u32(self.rank).u64(self.process_id).u64(self.host_id).u32(self.pid);
        to.bytes(self.host_name.as_bytes()).addresses(&self.addresses);
        self.places.iter().for_each(|place| place.write(to));
        to.u32(self.cores);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Member> {
        let mut member = Member {
            rank: from.u32()?,
            process_id: from.u64()?,
            host_id: from.u64()?,
            pid: from.u32()?,
            host_name: from.text(limits::HOST_NAME_MAX)?.to_owned(),
            addresses: from.addresses(limits::ADDRESSES_MAX)?,
            places: Vec::new(),
            cores: 0,
        };
        let places = member.addresses.iter().map(|_| Place::read(from));
        member.places = places.collect::<Option<_>>()?;
        member.cores = from.u32()?;
        Some(member)
    }
}

/// What every rank of a new communicator holds when [`join`](super::join()) has succeeded: the same
/// on all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// One for each rank, in order.
    pub ranks: Vec<Member>,
    /// The secret under which links shake hands: the job's token, or, where the job has none and
    /// stays on one host, one that rank 0 drew. P-37
    pub secret: Token,
    /// Drawn by rank 0.
    pub communicator_id: u64,
    /// The generation, as frames carry it.
    pub epoch: u32,
    /// What rank 0 handed out.
    pub handout: Vec<u8>,
}

impl Table {
    /// The table of a world of one, which needs no store.
    pub fn alone(me: &Joiner) -> Result<Table> {
        Table::draw(me, vec![me.member()])
    }

    /// Cores that a rank has to itself, on the host where these are fewest: ranks of one host share what
    /// each of them may use.
    pub fn cores_per_rank(&self) -> u32 {
        let mut ranks: HashMap<u64, u32> = HashMap::new();
        for member in &self.ranks {
            *ranks.entry(member.host_id).or_default() += 1;
        }
        let shares = self.ranks.iter().map(|member| member.cores / ranks[&member.host_id]);
        shares.min().unwrap_or(1)
    }

    /// The table that rank 0 makes of what the others published.
    pub(super) fn draw(me: &Joiner, ranks: Vec<Member>) -> Result<Table> {
        Ok(Table {
            ranks,
            secret: match &me.token {
                Some(token) => token.clone(),
                None => super::token::generate()?,
            },
            communicator_id: random_u64()?,
            epoch: epoch(me.generation)?,
            handout: me.handout.clone(),
        })
    }

    /// The place of a rank among the ranks of its host, and how many those are; `None` for a rank
    /// beyond the world.
    pub fn local(&self, rank: Rank) -> Option<(u32, u32)> {
        let host = self.ranks.get(rank as usize)?.host_id;
        let here = self.ranks.iter().filter(|member| member.host_id == host);
        Some(here.fold((0, 0), |(before, all), member| {
            (before + u32::from(member.rank < rank), all + 1)
        }))
    }

    /// The secret goes in only where it is not the job's token, which never travels.
    pub(super) fn write(&self, to: &mut Writer, with_secret: bool) {
        to.u64(self.communicator_id).u32(self.epoch);
        to.bytes(if with_secret { self.secret.secret() } else { b"" });
        to.bytes(&self.handout).u32(self.ranks.len() as u32);
        for member in &self.ranks {
            member.write(to);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>, token: Option<&Token>) -> Option<Table> {
        let communicator_id = from.u64()?;
        let epoch = from.u32()?;
        let drawn = from.bytes(limits::TOKEN_BYTES_MAX)?;
        let secret = match token {
            Some(token) if drawn.is_empty() => token.clone(),
            None if drawn.len() >= limits::TOKEN_BYTES_MIN => Token::new(drawn),
            _ => return None,
        };
        let handout = from.bytes(limits::HANDOUT_BYTES_MAX)?.to_vec();
        let count = from.u32()?;
        if count > limits::WORLD_SIZE_MAX {
            return None;
        }
        // Grows with what is really there, not with the number claimed.
        let mut ranks = Vec::new();
        for rank in 0..count {
            let member = Member::read(from)?;
            if member.rank != rank {
                return None;
            }
            ranks.push(member);
        }
        from.end()?;
        Some(Table { ranks, secret, communicator_id, epoch, handout })
    }
}

/// The generation as frames carry it, in 32 bits.
pub(super) fn epoch(generation: u64) -> Result<u32> {
    u32::try_from(generation).map_err(|_| {
        Error::new(
            ErrorKind::Unsupported,
            format!("this process has created {generation} communicators; frames count 32 bits"),
        )
    })
}

/// A random number from the kernel.
pub(super) fn random_u64() -> Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Random bytes from the kernel.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|cause| {
        Error::new(ErrorKind::System, format!("the kernel gave no random bytes: {cause}"))
    })
}
