//! Communicators made from communicators. The class that users see is written in Python, so what is
//! made here is an argument from which that class makes itself.

use std::sync::Arc;

use kirsh_core::{Collective, Options, Rank};
use pyo3::prelude::*;

use crate::arguments::{self, Refusal, shown};
use crate::leave::Member;

/// A communicator that has been made and has no object of its own yet.
#[pyclass(frozen, module = "kirsh._kirsh")]
pub(crate) struct Made {
    pub(crate) member: Arc<Member>,
}

/// What is asked of a communicator.
pub(crate) enum Asked {
    Split { color: Option<u32>, key: i32 },
    Dup { priority: i32 },
    Subgroup { ranks: Vec<Rank> },
}

/// What a Python call asks for, with its timeout.
pub(crate) fn read<'a>(
    name: &str,
    value: Option<&Bound<'_, PyAny>>,
    number: Option<&Bound<'_, PyAny>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> Result<(Asked, Options<'a>), Refusal> {
    let given = |argument: &str, value: &Bound<'_, PyAny>, what: &str| {
        format!("{argument}={} is not {what}", shown(value))
    };
    let integer = |argument: &str| match number {
        None => Ok(0),
        Some(value) => value.extract::<i32>().map_err(|cause| {
            Refusal::caused(&given(argument, value, "a number of 32 bits"), cause)
        }),
    };
    let asked = match (name, value) {
        ("split", value) => {
            let color = value.map(|value| {
                value.extract::<u32>().map_err(|cause| {
                    Refusal::caused(&given("color", value, "None or 0 to 2**32 - 1"), cause)
                })
            });
            Asked::Split { color: color.transpose()?, key: integer("key")? }
        }
        ("subgroup", Some(ranks)) => Asked::Subgroup {
            ranks: ranks.extract::<Vec<Rank>>().map_err(|cause| {
                Refusal::caused(&given("ranks", ranks, "a list of ranks"), cause)
            })?,
        },
        _ => Asked::Dup { priority: integer("priority")? },
    };
    let options = Options { timeout: arguments::timeout(timeout)?, ..Options::default() };
    Ok((asked, options))
}

impl Asked {
    /// What each of these is to the peers.
    pub(crate) const COLLECTIVE: Collective = Collective::Allgather;

    /// Makes it; none where this rank is not in it.
    pub(crate) fn make(
        &self,
        comm: &kirsh_core::Communicator,
        options: &Options<'_>,
    ) -> kirsh_core::Result<Option<Made>> {
        let made = match self {
            Asked::Split { color, key } => comm.split(*color, *key, options)?,
            Asked::Dup { priority } => Some(comm.dup(*priority, options)?),
            Asked::Subgroup { ranks } => comm.subgroup(ranks, options)?,
        };
        Ok(made.map(|comm| Made { member: Member::enlist(comm) }))
    }
}
