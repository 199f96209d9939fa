//! What can be set when a communicator is created, and with each call.

use std::sync::Arc;
use std::time::Duration;

use crate::rendezvous::Store;
use crate::types::{Algorithm, Rank, Wire};

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timeout {
    /// What the communicator, the environment or the library sets.
    #[default]
    Default,
    After(Duration),
    Forever,
}

impl Timeout {
    /// The duration, where `Default` stands for `default`; `None` is for ever.
    pub fn or(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            Timeout::Default => default,
            Timeout::After(duration) => Some(duration),
            Timeout::Forever => None,
        }
    }
}

/// How to create a communicator. Everything left at its default comes from the environment.
///
/// Rank and world size are one group and are set together; so are rendezvous and store, of which
/// at most one is set.
#[derive(Clone, Default)]
pub struct Config {
    pub rank: Option<Rank>,
    pub world_size: Option<u32>,
    /// Where the ranks find one another: `tcp://host:port` (rank 0 serves) or `file://path`.
    pub rendezvous: Option<String>,
    /// A store that the ranks share already, instead of a rendezvous.
    pub store: Option<Arc<dyn Store>>,
    /// Keeps jobs apart that meet at one place (`KIRSH_JOB_ID`).
    pub job_id: Option<String>,
    /// How long the ranks may take to find together; 300 s by default (`KIRSH_JOIN_TIMEOUT`).
    pub join_timeout: Timeout,
    /// How long each operation may take; 600 s by default (`KIRSH_TIMEOUT`).
    pub timeout: Timeout,
    /// How the elements of every call travel that can be encoded, unless the call says otherwise
    /// (`KIRSH_WIRE`). Rank 0's word counts.
    pub wire: Option<Wire>,
}

/// What can be said with one call. The same on every rank, but for `timeout`, `scale`, `name` and the
/// value of `weight`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// How long the operation may take. When it runs out, the communicator is over; a send or a receive
    /// fails alone (see [`Communicator::send`](super::Communicator::send)).
    pub timeout: Timeout,
    /// This rank's factor for `ReduceOp::PremulSum`; an error with any other operator.
    pub scale: Option<f64>,
    /// The algorithm to use instead of the one the library would choose.
    pub algorithm: Option<Algorithm>,
    /// What to call the operation in this rank's log.
    pub name: Option<&'a str>,
    /// This rank's weight in a mean, such as its number of samples: with `ReduceOp::Avg` in allreduce,
    /// reduce and reduce_scatter(v) the result is `sum(weight * x) / sum(weight)`. All ranks give one,
    /// or none does. Weights are finite and not negative, and not all zero.
    ///
    /// They are exchanged ahead of the call by an allreduce of one `f64`, which is an operation with a
    /// sequence number of its own. That blocks, also where the call is only started; where a call is
    /// prepared the exchange is part of that, which is collective then.
    pub weight: Option<f64>,
    /// How the elements travel: in fewer bytes, and so rounded, in allreduce, reduce_scatter(v) and
    /// allgather(v) of float32; a call that cannot be encoded is refused. The results of an allreduce
    /// and an allgather are still the same bits on every rank. Where nothing is said,
    /// [`Config::wire`] holds for the calls that can be encoded. See `docs/WIRE.md` for the errors.
    pub wire: Option<Wire>,
}
