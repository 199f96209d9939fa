//! What a lane is made of.

use super::channel::Further;
use super::members::Members;
use super::peer::Rails;
use super::zero_copy::ZeroCopy;
use crate::memory::Pool;

/// What a lane is made of, beside what its session is told.
pub(crate) struct Makings {
    pub(crate) members: Members,
    pub(crate) pool: Pool,
    /// Lanes of higher priority come first in each turn of the progress thread.
    pub(crate) priority: i32,
    /// Whether ranks of one host have as many sockets between them as those of two.
    pub(crate) stripes_near: bool,
    /// Which rails its links take, where that is known.
    pub(crate) rails: Option<Rails>,
    /// How long a blocking call looks before it sleeps.
    pub(crate) spin_ns: u64,
    /// When sends ask the kernel not to copy.
    pub(crate) zero_copy: ZeroCopy,
    /// `None` for a communicator's first channel.
    pub(crate) further: Option<Further>,
}
