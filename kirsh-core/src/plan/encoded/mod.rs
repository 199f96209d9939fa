//! Plans whose float32 elements travel in a wire format of fewer bytes.
//!
//! Partial results are encoded by whoever sends them and decoded by the fold. A complete element is
//! encoded once, by its owner; the bytes go from rank to rank as they are, and every rank decodes
//! them, the owner too, so that all end with the same bits.
//!
//! What is encoded lies in [`Space::Encoded`](crate::types::Space::Encoded). A local encode or
//! decode is a step with hazards like any other, so that it overlaps with what the links carry.

mod fold;
mod gather;
mod halving;
mod ring;

use std::sync::Arc;

use fold::EncodedFold;
use gather::EncodedGather;
use halving::EncodedHalving;
use ring::EncodedRing;

use super::cut::{Blocks, Shape};
use super::halving::Halving;
use super::local::Local;
use super::reduce_pairwise::ReducePairwise;
use super::reduce_ring::ReduceRing;
use super::staged::{ScaledInput, Staged};
use super::{Map, Params, Plan};
use crate::types::{Algorithm, Call, Collective, ReduceOp, Span, Wire};

/// The plan of a call in a world of more than one whose elements travel encoded; `None` where the
/// algorithm has no such form.
pub(super) fn build(params: &Params, shape: Shape) -> Option<Arc<dyn Plan>> {
    let Call { collective, algorithm, count, op, wire, .. } = params.call;
    let scaled = op == ReduceOp::PremulSum;
    let blocks = || Blocks::new(count, &params.counts);
    use {Algorithm as A, Collective as C};
    Some(match (collective, algorithm) {
        (C::Allreduce, A::Ring) => staged(scaled, shape, EncodedRing::allreduce(shape, wire)),
        (C::Allreduce, A::HalvingDoubling) => {
            staged(scaled, shape, EncodedHalving::new(shape, wire))
        }
        (C::ReduceScatter | C::ReduceScatterv, A::Ring) => {
            fold(scaled, shape, wire, ReduceRing::reduce_scatter(shape, blocks()))
        }
        (C::ReduceScatter | C::ReduceScatterv, A::RecursiveHalving) => {
            fold(scaled, shape, wire, Halving::reduce_scatter(shape, blocks()))
        }
        (C::ReduceScatter | C::ReduceScatterv, A::Pairwise) => {
            fold(scaled, shape, wire, ReducePairwise::new(shape, blocks()))
        }
        (C::Allgather | C::Allgatherv, A::Ring) => {
            Arc::new(EncodedRing::allgather(shape, blocks(), wire))
        }
        (C::Allgather | C::Allgatherv, A::Bruck) => {
            Arc::new(EncodedGather::bruck(shape, blocks(), wire))
        }
        (C::Allgather | C::Allgatherv, A::RecursiveDoubling) => {
            Arc::new(EncodedGather::doubling(shape, blocks(), wire))
        }
        _ => return None,
    })
}

fn staged(scaled: bool, shape: Shape, plan: impl Plan + 'static) -> Arc<dyn Plan> {
    match scaled {
        true => Arc::new(Staged::new(Local::new(shape, Map::Scale), plan)),
        false => Arc::new(plan),
    }
}

/// Of these plans every second step is a send, and of scaled ones every fourth.
fn fold(scaled: bool, shape: Shape, wire: Wire, plan: impl Plan + 'static) -> Arc<dyn Plan> {
    let bytes = shape.slice_bytes();
    match scaled {
        true => Arc::new(EncodedFold::new(ScaledInput::new(bytes, plan), 4, bytes, wire)),
        false => Arc::new(EncodedFold::new(plan, 2, bytes, wire)),
    }
}

/// Where the encoding of a run of whole blocks of the array lies, if that of the array begins at 0.
fn image(wire: Wire, span: Span) -> Span {
    Span::encoded(wire.encoded(span.offset), wire.encoded(span.len))
}
