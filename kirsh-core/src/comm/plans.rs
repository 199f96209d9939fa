//! The communicator's plans: chosen by size, built once, kept ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::PLAN_CACHE_MAX;
use crate::model::choice::{Chooser, Selection};
use crate::model::Layout;
use crate::plan::{Params, Plan, build};
use crate::types::{Algorithm, Call, Rank};
use crate::wire::plan_key;

/// A plan and its key.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) plan: Arc<dyn Plan>,
    pub(super) key: u64,
}

pub(super) struct Plans {
    chooser: Chooser,
    /// Overrides the slice of whatever is chosen.
    slice: Option<u32>,
    cache: Mutex<HashMap<Params, Ready>>,
}

impl Plans {
    pub(super) fn new(layout: Layout, selection: Selection, slice: Option<u32>) -> Self {
        Plans {
            chooser: Chooser::new(layout, selection),
            slice,
            cache: Mutex::new(HashMap::with_capacity(PLAN_CACHE_MAX)),
        }
    }

    /// Chooses how to carry the call out, notes that in it, and gives the plan.
    pub(super) fn get(
        &self,
        call: &mut Call,
        forced: Option<Algorithm>,
        rank: Rank,
    ) -> Result<Ready> {
        let choice = self.chooser.choose(call, forced);
        call.algorithm = choice.algorithm;
        let size = call.dtype.size() as u32;
        let slice = self.slice.map_or(choice.slice, |slice| (slice / size).max(1) * size);
        let params = Params::new(*call, self.chooser.layout().world, slice);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = cache.get(&params) {
            return Ok(ready.clone());
        }
        let plan = build(&params, rank)?;
        if plan.len() > u64::from(u32::MAX) {
            let text = format!(
                "{call} in slices of {slice} bytes takes more frames than 32 bits count; set a larger KIRSH_SLICE"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let key = plan_key(
            call,
            params.world,
            params.slice,
            params.channels,
            params.stripes,
            params.known_counts(),
        );
        if cache.len() == PLAN_CACHE_MAX {
            cache.clear();
        }
        let ready = Ready { plan, key };
        cache.insert(params, ready.clone());
        Ok(ready)
    }
}
