//! The communicator's plans: chosen by size, built once, kept ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::stats::Preparations;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::PLAN_CACHE_MAX;
use crate::model::Layout;
use crate::model::choice::{Chooser, Selection};
use crate::plan::{Counts, Params, Plan, algorithms, build, can_encode};
use crate::types::{Algorithm, Call, Rank, Wire};
use crate::wire::plan_key;

/// A plan and its key.
#[derive(Clone)]
pub(super) struct Ready {
    /// The call, with the algorithm that was chosen.
    pub(super) call: Call,
    pub(super) plan: Arc<dyn Plan>,
    pub(super) key: u64,
}

pub(super) struct Plans {
    chooser: Chooser,
    /// Overrides the slice of whatever is chosen.
    slice: Option<u32>,
    /// For calls that say nothing of it.
    wire: Wire,
    cache: Mutex<HashMap<Params, Ready>>,
}

impl Plans {
    pub(super) fn new(
        layout: Layout,
        selection: Selection,
        slice: Option<u32>,
        wire: Wire,
    ) -> Self {
        Plans {
            chooser: Chooser::new(layout, selection),
            slice,
            wire,
            cache: Mutex::new(HashMap::with_capacity(PLAN_CACHE_MAX)),
        }
    }

    /// What chooses in the same way for a communicator of another layout.
    pub(super) fn for_layout(&self, layout: Layout) -> Self {
        Plans::new(layout, self.chooser.selection().clone(), self.slice, self.wire)
    }

    /// The wire format of a call that says nothing of it: the communicator's, if it can be encoded.
    pub(super) fn wire_of(&self, call: &Call, wanted: Option<Algorithm>) -> Wire {
        let required = self.chooser.selection().required(call, wanted);
        let algorithm = required.unwrap_or(algorithms(call.collective)[0]);
        let wired = Call { algorithm, wire: self.wire, ..*call };
        if can_encode(&wired) { self.wire } else { Wire::Plain }
    }

    /// Chooses how to carry the call of these parameters out, and gives the plan.
    pub(super) fn get(
        &self,
        mut params: Params,
        forced: Option<Algorithm>,
        rank: Rank,
        preparations: &Preparations,
    ) -> Result<Ready> {
        preparations.choices.add(1);
        let choice = self.chooser.choose(&params.call, forced);
        params.call.algorithm = choice.algorithm;
        let size = params.call.dtype.size() as u32;
        params.slice = self.slice.map_or(choice.slice, |slice| (slice / size).max(1) * size);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = cache.get(&params) {
            return Ok(ready.clone());
        }
        let (call, plan) = (params.call, build(&params, rank)?);
        preparations.plans_built.add(1);
        if plan.len() > u64::from(u32::MAX) {
            let text = format!(
                "{call} in slices of {} bytes takes more frames than 32 bits count; set a larger KIRSH_SLICE",
                params.slice
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let Params { world, slice, channels, stripes, .. } = params;
        let key = plan_key(&call, world, slice, channels, stripes, params.known_counts());
        let ready = Ready { call, plan, key };
        // Counts of a rank's own are seldom the same twice.
        if !matches!(params.counts, Counts::Own { .. }) {
            if cache.len() == PLAN_CACHE_MAX {
                cache.clear();
            }
            cache.insert(params, ready.clone());
        }
        Ok(ready)
    }
}
