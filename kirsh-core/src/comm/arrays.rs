//! Holds a call's arrays against each other: are they long enough, and may they lie as they do.

use super::raw::RawArray;
use crate::driver::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Params;
use crate::session::Alias;
use crate::types::{Collective, Rank};

/// The arrays of a call that has been found in order.
pub(super) struct Arrays {
    pub(super) input: Array,
    pub(super) output: Array,
    pub(super) alias: Alias,
    /// The input must be copied before the output is written.
    pub(super) staged: bool,
}

/// A run of memory: where it begins, and the first byte behind it.
type Extent = (u64, u64);

/// One of the arrays, checked for itself.
struct Side<'a> {
    raw: RawArray<'a>,
    /// Bytes.
    len: u64,
    size: u64,
}

/// Checks both arrays of a call that this rank makes.
pub(super) fn check(
    params: &Params,
    rank: Rank,
    send: RawArray<'_>,
    recv: RawArray<'_>,
) -> Result<Arrays> {
    let size = params.call.dtype.size() as u64;
    let input = Side { raw: send, len: params.input_elements(rank) * size, size };
    let output = Side { raw: recv, len: params.output_elements(rank) * size, size };
    // A broadcast works in its one array.
    let input = match params.call.collective {
        Collective::Broadcast => Side { raw: RawArray::None, len: 0, size },
        _ => input,
    };
    input.check("send", params)?;
    output.check("recv", params)?;
    let (alias, staged) = lie(params, rank, &input, &output)?;
    Ok(Arrays { input: input.array(), output: output.array(), alias, staged })
}

impl Side<'_> {
    fn check(&self, name: &str, params: &Params) -> Result<()> {
        let call = &params.call;
        let null = || invalid(format!("the {name} array of {call} is a null pointer"));
        match self.raw {
            _ if self.len == 0 => Ok(()),
            RawArray::None => invalid(format!("{call} has no {name} array")),
            RawArray::One(array) if array.is_null() => null(),
            RawArray::One(_) => Ok(()),
            RawArray::Many(runs) => {
                if runs.iter().any(|(array, len)| array.is_null() && *len != 0) {
                    return null();
                }
                let given: u128 = runs.iter().map(|(_, len)| *len as u128).sum();
                let needed = self.len / self.size;
                if given != u128::from(needed) {
                    return invalid(format!(
                        "the {} {name} arrays of {call} have {given} elements in all and need {needed}",
                        runs.len()
                    ));
                }
                Ok(())
            }
        }
    }

    /// The one run, if it is one that has bytes.
    fn start(&self) -> Option<u64> {
        match self.raw {
            RawArray::One(array) if self.len != 0 => Some(array as u64),
            _ => None,
        }
    }

    fn extents(&self) -> Vec<Extent> {
        match self.raw {
            RawArray::Many(runs) if self.len != 0 => runs
                .iter()
                .filter(|(_, len)| *len != 0)
                .map(|(array, len)| (*array as u64, *array as u64 + *len as u64 * self.size))
                .collect(),
            _ => self.start().map(|start| (start, start + self.len)).into_iter().collect(),
        }
    }

    fn array(&self) -> Array {
        match self.raw {
            RawArray::None => Array::One(std::ptr::null_mut()),
            RawArray::One(array) => Array::One(array),
            RawArray::Many(runs) => {
                Array::many(runs.iter().map(|(array, len)| (*array, *len as u64 * self.size)))
            }
        }
    }
}

/// How the two lie to each other.
fn lie(params: &Params, rank: Rank, input: &Side, output: &Side) -> Result<(Alias, bool)> {
    use Collective::*;
    if let (Some(from), Some(to)) = (input.start(), output.start()) {
        let part = params.own_part(rank).unwrap_or(0) * input.size;
        let in_place = match params.call.collective {
            Alltoall | Alltoallv if from == to => return Ok((Alias::None, true)),
            Allgather | Allgatherv | Gather | Gatherv => {
                (from == to + part).then_some(Alias::InputInOutput(part))
            }
            ReduceScatter | ReduceScatterv | Scatter | Scatterv => {
                (to == from + part).then_some(Alias::OutputInInput(part))
            }
            _ => (from == to).then_some(Alias::InputInOutput(0)),
        };
        if let Some(alias) = in_place {
            return Ok((alias, false));
        }
        if from < to + output.len && to < from + input.len {
            let shared = (from + input.len).min(to + output.len) - from.max(to);
            return invalid(format!(
                "send and recv of {} overlap by {shared} bytes, which is neither in place nor apart",
                params.call
            ));
        }
        return Ok((Alias::None, false));
    }
    if let Some(alias) = in_part(params, rank, input, output) {
        let whole = if matches!(alias, Alias::InputInOutput(_)) { output } else { input };
        disjoint(params, whole.extents())?;
        return Ok((alias, false));
    }
    apart(params, input, output)
}

/// In place where the larger array is several runs, of which one is this rank's part.
fn in_part(params: &Params, rank: Rank, input: &Side, output: &Side) -> Option<Alias> {
    use Collective::*;
    let part = params.own_part(rank)? * input.size;
    let (whole, own, alias) = match params.call.collective {
        Allgather | Allgatherv | Gather | Gatherv => (output, input, Alias::InputInOutput(part)),
        _ => (input, output, Alias::OutputInInput(part)),
    };
    let start = own.start()?;
    let RawArray::Many(_) = whole.raw else { return None };
    let (at, len) = whole.array().pieces(part, own.len).next()?;
    (at as u64 == start && len as u64 == own.len).then_some(alias)
}

/// Arrays of several runs: the same runs twice, or no byte in common.
fn apart(params: &Params, input: &Side, output: &Side) -> Result<(Alias, bool)> {
    let many = |side: &Side| matches!(side.raw, RawArray::Many(_));
    // Two that are one run each have been looked at; one alone has nothing to overlap with.
    if !many(input) && !many(output) {
        return Ok((Alias::None, false));
    }
    let (from, mut all) = (input.extents(), output.extents());
    if from.len() + all.len() < 2 {
        return Ok((Alias::None, false));
    }
    let same = from == all;
    if same && params.own_part(0).is_some() {
        return invalid(format!("{} in place takes one array, not several", params.call));
    }
    let exchanges = matches!(params.call.collective, Collective::Alltoall | Collective::Alltoallv);
    if !same {
        all.extend(from);
    }
    disjoint(params, all)?;
    Ok(match same {
        true if exchanges => (Alias::None, true),
        true => (Alias::InputInOutput(0), false),
        false => (Alias::None, false),
    })
}

/// No two of these have a byte in common.
fn disjoint(params: &Params, mut extents: Vec<Extent>) -> Result<()> {
    extents.sort_unstable();
    let Some(pair) = extents.windows(2).find(|pair| pair[0].1 > pair[1].0) else { return Ok(()) };
    invalid(format!(
        "arrays of {} overlap by {} bytes; give the same arrays for send and recv, or arrays that are apart",
        params.call,
        pair[0].1.min(pair[1].1) - pair[1].0
    ))
}

fn invalid<T>(text: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidArgument, text))
}
