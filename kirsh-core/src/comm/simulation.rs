//! "What would this call take there?": a network as people describe it, made a scenario of the model.

use std::path::PathBuf;

use super::read_table;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CALL_BYTES_MAX, CHANNELS_MAX, WORLD_SIZE_MAX};
use crate::model::scenario::{Scenario, Simulated, simulate};
use crate::model::{Class, Costs, Effort, Network, Straggler, Switch, wire_fs};
use crate::types::{Algorithm, Collective, DataType, Rank, ReduceOp, Wire};

/// Cores that a host may have.
const CORES_MAX: u32 = 65_536;

/// How many times its uplink the hosts below a switch may send.
const OVERSUBSCRIPTION_MAX: u32 = 1024;

/// A question to the model, as `kirsh simulate` asks it. What is `None` is not known: costs are then
/// those of the table, or those built in for the nearest class of links.
#[derive(Clone, Debug)]
pub struct Simulation {
    pub collective: Collective,
    pub ranks: u32,
    /// Bytes of the larger of a rank's two arrays.
    pub bytes: u64,
    pub dtype: DataType,
    /// Counts for nothing where the collective does not reduce.
    pub op: ReduceOp,
    /// How the elements travel.
    pub wire: Wire,
    /// Only this one; all that there are if `None`.
    pub algorithm: Option<Algorithm>,
    /// Parts that a call is cut into where it can be, each with a core of its own; as many as would be
    /// chosen if `None`.
    pub channels: Option<u16>,
    /// The rate of a host's link, in bits per second.
    pub bandwidth: Option<u64>,
    pub latency_ps: Option<u64>,
    /// Ranks of one host, which share its link and its cores.
    pub ranks_per_host: u32,
    /// Cores of a host; one for each of its ranks where no table says otherwise.
    pub cores: Option<u32>,
    /// Hosts below one switch; every host reaches every other at full rate if `None`.
    pub hosts_per_switch: Option<u32>,
    /// How many times as much as its uplink the hosts below a switch could send.
    pub oversubscription: Option<u32>,
    /// One rank takes so many thousandths of the usual time over everything.
    pub straggler_milli: Option<u32>,
    /// Which one that is; rank 0 if `None`.
    pub straggler_rank: Option<Rank>,
    /// A table that `kirsh tune` wrote.
    pub table: Option<PathBuf>,
}

impl Simulation {
    /// How many times its uplink the hosts below a switch can send if nobody says.
    pub const OVERSUBSCRIPTION: u32 = 4;

    /// One rank to a host, everything else unknown.
    pub fn new(collective: Collective, ranks: u32, bytes: u64) -> Self {
        Simulation {
            collective,
            ranks,
            bytes,
            dtype: DataType::Float32,
            op: ReduceOp::Sum,
            wire: Wire::Plain,
            algorithm: None,
            channels: None,
            bandwidth: None,
            latency_ps: None,
            ranks_per_host: 1,
            cores: None,
            hosts_per_switch: None,
            oversubscription: None,
            straggler_milli: None,
            straggler_rank: None,
            table: None,
        }
    }

    /// What each algorithm would take, fastest first. Takes up to some seconds of this thread.
    ///
    /// # Errors
    /// `InvalidArgument` and `Unsupported` for a network or a call that there cannot be;
    /// `Configuration` for a table that cannot be read.
    pub fn run(&self) -> Result<Vec<Simulated>> {
        simulate(&self.scenario()?, Effort::ANSWER)
    }

    /// The same question in the model's words.
    ///
    /// # Errors
    /// As [`Simulation::run`].
    pub fn scenario(&self) -> Result<Scenario> {
        self.check()?;
        let Simulation { collective, ranks, bytes, dtype, op, wire, algorithm, .. } = *self;
        let straggler = self
            .straggler_milli
            .map(|factor_milli| Straggler { rank: self.straggler_rank.unwrap_or(0), factor_milli });
        let switch = self.hosts_per_switch.map(|hosts| Switch {
            hosts,
            oversubscription: self.oversubscription.unwrap_or(Self::OVERSUBSCRIPTION),
        });
        Ok(Scenario {
            collective,
            ranks,
            ranks_per_host: self.ranks_per_host,
            bytes,
            dtype,
            op,
            wire,
            algorithm,
            channels: self.channels,
            network: Network { costs: self.costs()?, switch, straggler },
        })
    }

    fn check(&self) -> Result<()> {
        let within = |name: &str, value: Option<u32>, largest: u32| match value {
            Some(value) if !(1..=largest).contains(&value) => {
                invalid(format!("{name} is {value}, and can be 1 to {largest}"))
            }
            _ => Ok(()),
        };
        within("the number of ranks", Some(self.ranks), WORLD_SIZE_MAX)?;
        within("the number of ranks per host", Some(self.ranks_per_host), WORLD_SIZE_MAX)?;
        within("the number of cores", self.cores, CORES_MAX)?;
        within("the number of hosts per switch", self.hosts_per_switch, WORLD_SIZE_MAX)?;
        within("the oversubscription", self.oversubscription, OVERSUBSCRIPTION_MAX)?;
        within("the number of channels", self.channels.map(u32::from), CHANNELS_MAX.into())?;
        if self.bytes > CALL_BYTES_MAX {
            return invalid(format!("{} bytes are more than memory holds", self.bytes));
        }
        if self.oversubscription.is_some() && self.hosts_per_switch.is_none() {
            return invalid("an oversubscription needs the number of hosts per switch".into());
        }
        if self.collective.reduces() && !self.op.supports(self.dtype) {
            return invalid(format!("{} is not defined on {}", self.op, self.dtype));
        }
        match (self.straggler_milli, self.straggler_rank) {
            (Some(_), Some(rank)) if rank >= self.ranks => {
                let size = self.ranks;
                invalid(format!("the straggler {rank} is not a rank of a world of {size}"))
            }
            (None, Some(rank)) => invalid(format!("nobody says how slow the straggler {rank} is")),
            _ => Ok(()),
        }
    }

    fn costs(&self) -> Result<Costs> {
        let mut costs = match &self.table {
            Some(path) => read_table(path)?,
            None => {
                let mbit = self.bandwidth.unwrap_or(10_000_000_000) / 1_000_000;
                // A core for each rank, if nobody says how many there are.
                let cores = self.ranks_per_host.min(CORES_MAX);
                Costs::built_in(Class::of_mbit(mbit as i64), cores)
            }
        };
        if let Some(bits) = self.bandwidth {
            costs.remote.wire_fs = wire_fs(bits);
        }
        if let Some(latency_ps) = self.latency_ps {
            costs.remote.latency_ps = latency_ps;
        }
        if let Some(cores) = self.cores {
            costs.cores = cores;
        }
        Ok(costs)
    }
}

fn invalid(text: String) -> Result<()> {
    Err(Error::new(ErrorKind::InvalidArgument, text))
}
