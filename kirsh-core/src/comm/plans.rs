//! The communicator's plans: chosen by size, built once, kept ready.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::stats::Preparations;
use crate::driver::parts::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::PLAN_CACHE_MAX;
use crate::model::Layout;
use crate::model::choice::{Chooser, Selection};
use crate::plan::{self, Counts, Params, Pattern, Plan, algorithms, build, can_encode};
use crate::types::{Algorithm, Call, Rank, Wire};
use crate::wire::plan_key;

/// A plan and its key.
#[derive(Clone)]
pub(super) struct Ready {
    /// The call, with the algorithm that was chosen.
    pub(super) call: Call,
    /// Of the whole call, or of its first part.
    pub(super) plan: Arc<dyn Plan>,
    pub(super) key: u64,
    /// Sockets between ranks of different hosts.
    pub(super) stripes: u8,
    /// Where several channels carry it out.
    pub(super) cut: Option<Cut>,
}

/// What a user has decided for every call, in place of what would be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forced {
    pub(super) slice: Option<u32>,
    pub(super) stripes: Option<u8>,
    /// For calls that say nothing of it.
    pub(super) wire: Wire,
}

/// How a call is cut into parts.
#[derive(Clone)]
pub(super) struct Cut {
    pub(super) list: Arc<[Part]>,
    /// Blocks of the input, and of the output.
    pub(super) blocks: (u64, u64),
    /// Bytes of a block.
    pub(super) block: u64,
}

/// A call before anything is chosen for it, and the algorithm that it names.
type Asked = (Params, Option<Algorithm>);

pub(super) struct Plans {
    chooser: Chooser,
    forced: Forced,
    pattern: Pattern,
    /// By what was asked, so that a call made before costs one look. A quick hash will do: only the
    /// program's own calls fill it.
    cache: Mutex<FxHashMap<Asked, Ready>>,
}

impl Plans {
    pub(super) fn new(layout: Layout, selection: Selection, forced: Forced) -> Self {
        Plans {
            chooser: Chooser::new(layout, selection),
            forced,
            pattern: Pattern::EVEN,
            cache: Mutex::new(FxHashMap::with_capacity_and_hasher(PLAN_CACHE_MAX, FxBuildHasher)),
        }
    }

    /// What chooses in the same way for a communicator of another layout.
    pub(super) fn for_layout(&self, layout: Layout) -> Self {
        let plans = Plans::new(layout, self.chooser.selection().clone(), self.forced);
        Plans { pattern: self.pattern, ..plans }
    }

    /// Deals frames out to rails that take so much for a byte together; before the first call.
    pub(super) fn take_rails(&mut self, pattern: Pattern, wire_fs: u64) {
        let layout = self.chooser.layout();
        let selection = self.chooser.selection().clone().with_wire(wire_fs);
        *self = Plans { pattern, ..Plans::new(layout, selection, self.forced) };
    }

    pub(super) fn forced(&self) -> &Forced {
        &self.forced
    }

    /// The wire format of a call that says nothing of it: the communicator's, if it can be encoded.
    pub(super) fn wire_of(&self, call: &Call, wanted: Option<Algorithm>) -> Wire {
        let required = self.chooser.selection().required(call, wanted);
        let algorithm = required.unwrap_or(algorithms(call.collective)[0]);
        let wired = Call { algorithm, wire: self.forced.wire, ..*call };
        if can_encode(&wired) { self.forced.wire } else { Wire::Plain }
    }

    /// Sockets between ranks of different hosts, over all rails. P-60
    fn stripes(&self, params: &Params) -> u8 {
        let chosen = self.chooser.selection().stripes(self.chooser.layout(), params);
        match self.forced.stripes {
            _ if params.call.collective.has_own_counts() => 1,
            Some(of_rail) => self.pattern.stripes(of_rail),
            None => chosen.map_or(1, |of_rail| self.pattern.stripes(of_rail)),
        }
    }

    /// The plan of the call of these parameters, of which the algorithm and all that says how it is cut
    /// are yet to be chosen.
    pub(super) fn get(
        &self,
        params: Params,
        forced: Option<Algorithm>,
        rank: Rank,
        preparations: &Preparations,
    ) -> Result<Ready> {
        preparations.choices.add(1);
        // Counts of a rank's own are seldom the same twice.
        if matches!(params.counts, Counts::Own { .. }) {
            return self.make(params, forced, rank, preparations);
        }
        let asked = (params, forced);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = cache.get(&asked) {
            return Ok(ready.clone());
        }
        let ready = self.make(asked.0.clone(), forced, rank, preparations)?;
        if cache.len() == PLAN_CACHE_MAX {
            cache.clear();
        }
        cache.insert(asked, ready.clone());
        Ok(ready)
    }

    /// Chooses how to carry a call out, and builds the plan.
    fn make(
        &self,
        mut params: Params,
        forced: Option<Algorithm>,
        rank: Rank,
        preparations: &Preparations,
    ) -> Result<Ready> {
        let choice = self.chooser.choose(&params.call, forced);
        params.call.algorithm = choice.algorithm;
        let size = params.call.dtype.size() as u32;
        params.channels = choice.channels;
        params.slice = self.forced.slice.map_or(choice.slice, |slice| (slice / size).max(1) * size);
        params.stripes = self.stripes(&params).into();
        params.check()?;
        let call = params.call;
        let (plan, cut) = plans_of(&params, rank)?;
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
        Ok(Ready { call, plan, key, stripes: stripes as u8, cut })
    }
}

/// The plan of this rank, or that of the first part and how the call is cut into parts.
fn plans_of(params: &Params, rank: Rank) -> Result<(Arc<dyn Plan>, Option<Cut>)> {
    if params.channels == 1 {
        return Ok((build(params, rank)?, None));
    }
    let size = params.call.dtype.size() as u64;
    // Channels beyond the last element have nothing to do, on any rank.
    let parts = (0..params.channels).map(|channel| params.part(channel));
    let parts = parts.filter(|part| part.begin == 0 || part.count != 0);
    let part = |part: plan::Part| -> Result<Part> {
        Ok(Part {
            plan: build(&part.params, rank)?,
            begin: part.begin * size,
            len: part.count * size,
            own: part.params.own_part(rank).unwrap_or(0) * size,
        })
    };
    let list: Arc<[Part]> = parts.map(part).collect::<Result<_>>()?;
    let plan = Arc::clone(&list[0].plan);
    let block = params.call.count * size;
    let cut = (list.len() > 1).then(|| Cut { list, blocks: params.blocks(), block });
    Ok((plan, cut))
}
