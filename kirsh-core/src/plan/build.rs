//! From a call to one rank's plan.

use std::sync::Arc;

use super::allgather_bruck::AllgatherBruck;
use super::allgather_doubling::AllgatherDoubling;
use super::allgather_ring::AllgatherRing;
use super::alltoall_bruck::AlltoallBruck;
use super::alltoall_pairwise::Pairwise;
use super::binomial::Binomial;
use super::chain::Chain;
use super::cut::{Blocks, Shape};
use super::dissemination::Dissemination;
use super::double_tree::DoubleTree;
use super::gather_binomial::GatherBinomial;
use super::halving::{Halving, HalvingDoubling};
use super::linear::{Linear, Way};
use super::local::Local;
use super::recursive_doubling::RecursiveDoubling;
use super::reduce_pairwise::ReducePairwise;
use super::reduce_ring::ReduceRing;
use super::ring::Ring;
use super::rising::Rising;
use super::scan::{ScanChain, ScanDoubling, Scanned};
use super::scatter_allgather::ScatterAllgather;
use super::scatter_binomial::ScatterBinomial;
use super::staged::{ScaledInput, Staged};
use super::tree::Tree;
use super::{Counts, Finish, Map, Params, Plan, encoded};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Call, Collective, Rank, ReduceOp, Wire};

/// The plan of one rank, for a call of one channel or for the part of one. Pure and cheap: beside counts for each rank, nothing in it grows with the
/// count or the world.
///
/// Which array lies where: a broadcast works in Output alone, where the root's array already lies.
/// Every other collective reads Input and writes Output, each as long as [`Params`] say for this
/// rank; an array that a rank does not have (the result of a reduce off its root) is empty, and no
/// step names it.
///
/// # Errors
/// `InvalidArgument` for numbers out of range, `Unsupported` for an algorithm that does not carry
/// out the collective or an operator that the type does not know.
pub fn build(params: &Params, rank: Rank) -> Result<Arc<dyn Plan>> {
    params.check()?;
    let Params { call, world, slice, channels, .. } = params;
    if *channels != 1 {
        let text = format!("a plan for {channels} channels: each carries out a part of the call");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let (world, slice) = (*world, *slice);
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
    let shape = shape.with_slices_below(params.elements().unwrap_or(0));
    // In a world of one nothing travels.
    if call.wire != Wire::Plain && world > 1 {
        return encoded::build(params, shape).ok_or_else(|| missing(call));
    }
    use {Algorithm as A, Collective as C};
    Ok(match (call.collective, call.algorithm) {
        (C::Barrier, _) => Arc::new(Dissemination::new(rank, world)),
        (C::Broadcast, A::Binomial) => Arc::new(Binomial::new(shape, call.root)),
        (C::Broadcast, A::Chain) => Arc::new(Chain::new(shape, call.root)),
        (C::Broadcast, A::ScatterAllgather) => Arc::new(ScatterAllgather::new(shape, call.root)),
        (C::Broadcast, A::DoubleTree) => Arc::new(DoubleTree::broadcast(shape, call.root)),
        (C::Allgather | C::Allgatherv, algorithm) => {
            let blocks = Blocks::new(call.count, &params.counts);
            match algorithm {
                A::Ring => Arc::new(AllgatherRing::plan(shape, blocks)),
                A::RecursiveDoubling => Arc::new(AllgatherDoubling::plan(shape, blocks)),
                A::Bruck => Arc::new(AllgatherBruck::plan(shape, blocks)),
                _ => return Err(missing(call)),
            }
        }
        (C::Gather, A::Binomial) => Arc::new(GatherBinomial::plan(shape, call.root)),
        (C::Scatter, A::Binomial) => Arc::new(ScatterBinomial::plan(shape, call.root)),
        (C::Gather | C::Gatherv, A::Linear) => {
            let (send, recv) = own_blocks(params, rank)?;
            let (begin, end) = send.of(call.root);
            let own = if call.collective == C::Gather { call.count } else { end - begin };
            Arc::new(Linear::new(shape, Way::ToRoot, call.root, recv, own))
        }
        (C::Scatter | C::Scatterv, A::Linear) => {
            let (send, recv) = own_blocks(params, rank)?;
            let (begin, end) = recv.of(call.root);
            let own = if call.collective == C::Scatter { call.count } else { end - begin };
            Arc::new(Linear::new(shape, Way::FromRoot, call.root, send, own))
        }
        (C::Alltoall | C::Alltoallv, A::Pairwise) => {
            let (send, recv) = own_blocks(params, rank)?;
            Arc::new(Pairwise::plan(shape, send, recv))
        }
        (C::Alltoall, A::Bruck) => Arc::new(AlltoallBruck::new(shape, call.count)),
        (collective, _) if collective.reduces() => return reduction(params, shape),
        _ => return Err(missing(call)),
    })
}

/// What this rank sends to each rank and receives from each.
///
/// # Errors
/// `InvalidArgument` where it would send itself other than what it receives from itself.
fn own_blocks(params: &Params, rank: Rank) -> Result<(Blocks, Blocks)> {
    let Counts::Own { send, recv } = &params.counts else {
        let even = Blocks::Even(params.call.count);
        return Ok((even.clone(), even));
    };
    let (given, taken) = (send[rank as usize], recv[rank as usize]);
    if given != taken {
        let text = format!("{given} elements for itself, of which it would receive {taken}");
        return Err(Error::new(ErrorKind::InvalidArgument, text)
            .with_rank(rank)
            .with_operation(params.call.collective.name(), None));
    }
    Ok((Blocks::uneven(send), Blocks::uneven(recv)))
}

/// The plan of a collective that reduces.
fn reduction(params: &Params, shape: Shape) -> Result<Arc<dyn Plan>> {
    let Params { call, world, counts, .. } = params;
    let Call { collective, algorithm, root, count, .. } = *call;
    let scaled = call.op == ReduceOp::PremulSum;
    let blocks = || Blocks::new(count, counts);
    use {Algorithm as A, Collective as C};
    if *world == 1 {
        // What a rank gets of nobody but itself: its own array, or with exscan nothing.
        let count = if collective == C::Exscan { 0 } else { count };
        let map = if scaled { Map::Scale } else { Map::Copy };
        return Ok(Arc::new(Local::new(Shape { count, ..shape }, map)));
    }
    let scan = match collective {
        C::Exscan => Scanned::WithoutOwn,
        _ => Scanned::WithOwn,
    };
    Ok(match (collective, algorithm) {
        (C::Allreduce, A::Ring) => staged(scaled, shape, Ring::new(shape)),
        (C::Allreduce, A::RecursiveDoubling) => {
            staged(scaled, shape, RecursiveDoubling::new(shape))
        }
        (C::Allreduce, A::Tree) => staged(scaled, shape, Tree::new(shape)),
        (C::Allreduce, A::HalvingDoubling) => staged(scaled, shape, HalvingDoubling::new(shape)),
        (C::Allreduce, A::DoubleTree) => staged(scaled, shape, DoubleTree::allreduce(shape)),
        (C::Reduce, A::Binomial) => in_scratch(scaled, shape, Rising::binomial(shape, root)),
        (C::Reduce, A::Chain) => in_scratch(scaled, shape, Rising::chain(shape, root)),
        (C::Reduce, A::ReduceScatterGather) => {
            in_scratch(scaled, shape, ReduceRing::reduce(shape, root))
        }
        (C::Reduce, A::DoubleTree) => in_scratch(scaled, shape, DoubleTree::reduce(shape, root)),
        (C::ReduceScatter | C::ReduceScatterv, A::Ring) => {
            in_scratch(scaled, shape, ReduceRing::reduce_scatter(shape, blocks()))
        }
        (C::ReduceScatter | C::ReduceScatterv, A::RecursiveHalving) => {
            in_scratch(scaled, shape, Halving::reduce_scatter(shape, blocks()))
        }
        (C::ReduceScatter | C::ReduceScatterv, A::Pairwise) => {
            in_scratch(scaled, shape, ReducePairwise::new(shape, blocks()))
        }
        (C::Scan | C::Exscan, A::RecursiveDoubling) => {
            in_scratch(scaled, shape, ScanDoubling::new(shape, scan))
        }
        (C::Scan | C::Exscan, A::Chain) => in_scratch(scaled, shape, ScanChain::new(shape, scan)),
        _ => return Err(missing(call)),
    })
}

fn missing(call: &Call) -> Error {
    let text = format!("{} does not yet carry out {}", call.algorithm, call.collective);
    Error::new(ErrorKind::Unsupported, text)
}

/// The plan itself, or behind a scaling of the input into the output.
fn staged(scaled: bool, shape: Shape, plan: impl Plan + 'static) -> Arc<dyn Plan> {
    match scaled {
        true => Arc::new(Staged::new(Local::new(shape, Map::Scale), plan)),
        false => Arc::new(plan),
    }
}

/// The plan itself, or with every slice of its input scaled into scratch before it is read.
fn in_scratch(scaled: bool, shape: Shape, plan: impl Plan + 'static) -> Arc<dyn Plan> {
    match scaled {
        true => Arc::new(ScaledInput::new(shape.slice_bytes(), plan)),
        false => Arc::new(plan),
    }
}
