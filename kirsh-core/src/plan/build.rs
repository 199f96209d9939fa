//! From a call to one rank's plan.

use std::sync::Arc;

use super::binomial::Binomial;
use super::chain::Chain;
use super::cut::Shape;
use super::dissemination::Dissemination;
use super::local::Local;
use super::recursive_doubling::RecursiveDoubling;
use super::ring::Ring;
use super::staged::Staged;
use super::tree::Tree;
use super::{Finish, Map, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CALL_BYTES_MAX, SLICE_BYTES_MAX, WORLD_SIZE_MAX};
use crate::types::{Algorithm, Call, Collective, Rank, ReduceOp};

/// What a plan is made from, the rank excepted: the same on every rank of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    pub call: Call,
    /// The world size.
    pub world: u32,
    /// Bytes of a slice, at most; rounded down to whole elements.
    pub slice: u32,
    /// Disjoint parts with sockets of their own. Only 1 is known.
    pub channels: u16,
    /// Sockets within a channel. Only 1 is known.
    pub stripes: u16,
}

impl Params {
    /// Parameters with one channel of one stripe.
    pub const fn new(call: Call, world: u32, slice: u32) -> Self {
        Params { call, world, slice, channels: 1, stripes: 1 }
    }

    /// Whether plans can be made of this for the ranks of its world.
    ///
    /// # Errors
    /// `InvalidArgument` or `Unsupported`, naming what does not fit.
    pub fn check(&self) -> Result<()> {
        let Params { call, world, slice, channels, stripes } = *self;
        let refuse = |kind, message| {
            Err(Error::new(kind, message).with_operation(call.collective.name(), None))
        };
        let invalid = |message| refuse(ErrorKind::InvalidArgument, message);
        let unsupported = |message| refuse(ErrorKind::Unsupported, message);
        if world == 0 || world > WORLD_SIZE_MAX {
            return invalid(format!("world size {world} is not in 1..={WORLD_SIZE_MAX}"));
        }
        if call.root >= world {
            return invalid(format!("root {} is not a rank of a world of {world}", call.root));
        }
        let size = call.dtype.size() as u64;
        if call.count > CALL_BYTES_MAX / size {
            return invalid(format!(
                "{} x {} is more than the {CALL_BYTES_MAX} bytes of one call",
                call.count, call.dtype
            ));
        }
        if u64::from(slice) < size || slice as usize > SLICE_BYTES_MAX {
            return invalid(format!(
                "slices of {slice} bytes: {} needs {size} to {SLICE_BYTES_MAX}",
                call.dtype
            ));
        }
        if (channels, stripes) != (1, 1) {
            return unsupported(format!(
                "{channels} channels of {stripes} stripes: plans have one of one"
            ));
        }
        if !algorithms(call.collective).contains(&call.algorithm) {
            let names: Vec<_> = algorithms(call.collective).iter().map(|a| a.name()).collect();
            return unsupported(format!(
                "{} does not carry out {}; choose from {}",
                call.algorithm,
                call.collective,
                names.join(", ")
            ));
        }
        if call.collective == Collective::Allreduce && !call.op.supports(call.dtype) {
            return unsupported(format!("{} is not defined on {}", call.op, call.dtype));
        }
        Ok(())
    }
}

/// The algorithms that carry out a collective.
pub const fn algorithms(collective: Collective) -> &'static [Algorithm] {
    match collective {
        Collective::Barrier => &[Algorithm::Dissemination],
        Collective::Broadcast => &[Algorithm::Binomial, Algorithm::Chain],
        Collective::Allreduce => &[Algorithm::Ring, Algorithm::RecursiveDoubling, Algorithm::Tree],
    }
}

/// The plan of one rank. Pure and cheap: nothing in it grows with the count or the world.
///
/// An allreduce reads Input and writes Output. A broadcast works in Output alone, where the
/// root's array already lies.
///
/// # Errors
/// `InvalidArgument` for numbers out of range, `Unsupported` for an algorithm that does not carry
/// out the collective or an operator that the type does not know.
pub fn build(params: &Params, rank: Rank) -> Result<Arc<dyn Plan>> {
    params.check()?;
    let Params { call, world, slice, .. } = *params;
    if rank >= world {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("rank {rank} is not in a world of {world}"),
        )
        .with_operation(call.collective.name(), None));
    }
    let size = call.dtype.size() as u64;
    let shape = Shape {
        world,
        rank,
        count: call.count,
        size,
        slice: u64::from(slice) / size,
        finish: if call.op == ReduceOp::Avg { Finish::Average } else { Finish::Keep },
    };
    Ok(match call.algorithm {
        Algorithm::Dissemination => Arc::new(Dissemination::new(rank, world)),
        Algorithm::Binomial => Arc::new(Binomial::new(shape, call.root)),
        Algorithm::Chain => Arc::new(Chain::new(shape, call.root)),
        Algorithm::Ring | Algorithm::RecursiveDoubling | Algorithm::Tree if world == 1 => {
            let scaled = call.op == ReduceOp::PremulSum;
            Arc::new(Local::new(shape, if scaled { Map::Scale } else { Map::Copy }))
        }
        Algorithm::Ring => reducing(call.op, shape, Ring::new(shape)),
        Algorithm::RecursiveDoubling => reducing(call.op, shape, RecursiveDoubling::new(shape)),
        Algorithm::Tree => reducing(call.op, shape, Tree::new(shape)),
    })
}

/// The plan itself, or behind a scaling of the input where the operator asks for one.
fn reducing(op: ReduceOp, shape: Shape, plan: impl Plan + 'static) -> Arc<dyn Plan> {
    match op {
        ReduceOp::PremulSum => Arc::new(Staged::new(Local::new(shape, Map::Scale), plan)),
        _ => Arc::new(plan),
    }
}
