//! A call as C describes it, and the way from there to a result, a work or a plan.
//!
//! What this side refuses (a number that is no element type, a malformed struct) has its place in the
//! order of calls all the same: the peers are waiting for this rank, and hear of the refusal.

use std::ffi::c_void;
use std::slice;

use kirsh_core::comm::{Communicator, Options, RawArray, RawCall, RawCounts};
use kirsh_core::{Collective, Rank, Result};

use crate::boundary::{invalid, require};
use crate::comm::{communicator, kirsh_comm_t};
use crate::numbers::{self, DtypeNumber, OpNumber};
use crate::options::{self, kirsh_options_t};
use crate::plan::{self, kirsh_plan_t};
use crate::status::kirsh_status_t;
use crate::work::{self, kirsh_work_t};

/// One of several arrays that count as one, each behind the one before. It has no size of its own and
/// never grows, since programs lay out arrays of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kirsh_array_t {
    /// Where it begins; NULL is allowed where count is 0.
    pub data: *mut c_void,
    /// How many elements it has.
    pub count: usize,
}

/// A run of elements in the caller's memory.
type Run = (*mut u8, usize);

/// One of a call's arrays, as C describes it.
#[derive(Clone, Copy)]
pub(crate) enum Given {
    /// This rank has none.
    None,
    /// As many elements as the collective says.
    One(*const c_void),
    /// A part for each rank, packed where `displacements` is null.
    Parts { base: *const c_void, counts: *const usize, displacements: *const usize },
    /// So many arrays, one behind the other.
    Many(*const kirsh_array_t, usize),
}

/// Where the outcome goes.
#[derive(Clone, Copy)]
pub(crate) enum Into {
    /// The call runs at once, to its end where this is null, else it starts.
    Work(*mut *mut kirsh_work_t),
    /// The call is prepared.
    Plan(*mut *mut kirsh_plan_t),
}

/// A collective call, with numbers that have not been looked at yet.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) collective: Collective,
    pub(crate) dtype: DtypeNumber,
    pub(crate) op: OpNumber,
    pub(crate) root: i32,
    pub(crate) count: usize,
    pub(crate) send: Given,
    pub(crate) recv: Given,
}

impl Asked {
    /// A call without arrays, operator and root.
    pub(crate) const fn new(collective: Collective, dtype: DtypeNumber, count: usize) -> Self {
        Asked {
            collective,
            dtype,
            op: numbers::kirsh_op_t::KIRSH_SUM as OpNumber,
            root: 0,
            count,
            send: Given::None,
            recv: Given::None,
        }
    }

    pub(crate) const fn op(self, op: OpNumber) -> Self {
        Asked { op, ..self }
    }

    pub(crate) const fn root(self, root: i32) -> Self {
        Asked { root, ..self }
    }

    pub(crate) const fn send(self, send: *const c_void) -> Self {
        Asked { send: Given::One(send), ..self }
    }

    pub(crate) const fn recv(self, recv: *mut c_void) -> Self {
        Asked { recv: Given::One(recv), ..self }
    }

    pub(crate) const fn send_parts(
        self,
        base: *const c_void,
        counts: *const usize,
        displacements: *const usize,
    ) -> Self {
        Asked { send: Given::Parts { base, counts, displacements }, ..self }
    }

    pub(crate) const fn recv_parts(
        self,
        base: *mut c_void,
        counts: *const usize,
        displacements: *const usize,
    ) -> Self {
        Asked { recv: Given::Parts { base, counts, displacements }, ..self }
    }

    /// Many arrays, in place.
    pub(crate) const fn many(self, arrays: *const kirsh_array_t, number: usize) -> Self {
        let given = Given::Many(arrays, number);
        Asked { send: given, recv: given, ..self }
    }

    /// Runs, starts or prepares the call.
    ///
    /// # Safety
    /// `comm` is null or a live handle; `options` is null or well formed; the place in `into` is null or
    /// can be written; counts, displacements and arrays of arrays are null or as long as the header says.
    /// The arrays are as long as they say, until this returns, or until what was started from it is over.
    pub(crate) unsafe fn carry_out(
        &self,
        comm: *const kirsh_comm_t,
        options: *const kirsh_options_t,
        into: Into,
    ) -> Result<kirsh_status_t> {
        // SAFETY: by the contract above.
        let comm = unsafe { communicator(comm) }?;
        let looked = || {
            if let Into::Plan(plan_out) = into {
                require(plan_out, "plan_out")?;
            }
            // SAFETY: by the contract above.
            let options = unsafe { options::read(options) }?;
            // SAFETY: by the contract above.
            Ok((unsafe { self.look(comm) }?, options))
        };
        let (looked, options): (Looked<'_>, Options<'_>) =
            looked().map_err(|error| comm.refuse(self.collective, error))?;
        let call = looked.call();
        match into {
            Into::Work(work_out) if work_out.is_null() => {
                // SAFETY: by the contract above, until this returns.
                unsafe { comm.call_raw(&call, &options) }?;
            }
            Into::Work(work_out) => {
                // SAFETY: by the contract above, until the work is over.
                let raw = unsafe { comm.start_raw(&call, &options) }?;
                // SAFETY: not null, and it can be written by the contract above.
                unsafe { work_out.write(work::into_handle(raw)) };
            }
            Into::Plan(plan_out) => {
                // SAFETY: by the contract above, which holds for each run.
                let raw = unsafe { comm.plan_raw(&call, &options) }?;
                // SAFETY: not null, as was seen above, and it can be written.
                unsafe { plan_out.write(plan::into_handle(raw)) };
            }
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }

    /// Looks at the numbers, and reads the counts.
    ///
    /// # Safety
    /// As for [`Asked::carry_out`].
    unsafe fn look(&self, comm: &Communicator) -> Result<Looked<'_>> {
        let dtype = numbers::dtype(self.dtype)?;
        let op = numbers::op(self.op)?;
        let root = self.root;
        let root = Rank::try_from(root).map_err(|_| invalid(format!("root is {root}")))?;
        let call = RawCall::new(self.collective, dtype, self.count).op(op).root(root);
        // Off the root these have no parts.
        let rooted = matches!(self.collective, Collective::Gatherv | Collective::Scatterv);
        let reader = Reader {
            world: comm.size() as usize,
            size: dtype.size(),
            parts: !rooted || comm.rank() == root,
        };
        // SAFETY: by the contract above.
        let send = unsafe { reader.read("send", self.send) }?;
        // SAFETY: by the contract above.
        let recv = unsafe { reader.read("recv", self.recv) }?;
        Ok(Looked { call, send, recv })
    }
}

/// A call whose numbers are in order.
struct Looked<'a> {
    call: RawCall<'a>,
    send: Side<'a>,
    recv: Side<'a>,
}

/// One of a call's arrays.
struct Side<'a> {
    place: Place,
    /// Each rank's, where the caller gave them and this rank has a use for them.
    counts: Option<&'a [usize]>,
}

enum Place {
    None,
    One(*mut u8),
    Many(Vec<Run>),
}

impl Place {
    fn array(&self) -> RawArray<'_> {
        match self {
            Place::None => RawArray::None,
            Place::One(array) => RawArray::One(*array),
            Place::Many(runs) => RawArray::Many(runs),
        }
    }
}

impl Looked<'_> {
    fn call(&self) -> RawCall<'_> {
        let RawCall { collective, dtype, op, root, count, .. } = self.call;
        let (send, recv) = (self.send.counts, self.recv.counts);
        let (count, counts) = match (collective, send, recv) {
            (Collective::Gatherv | Collective::Scatterv, _, _) => {
                (0, RawCounts::Rooted { own: count, each: send.or(recv).unwrap_or_default() })
            }
            (_, Some(send), Some(recv)) => (0, RawCounts::Pairs { send, recv }),
            (_, Some(each), None) | (_, None, Some(each)) => (0, RawCounts::Known(each)),
            (_, None, None) => match &self.send.place {
                Place::Many(runs) => {
                    // More than there can be is refused behind this, by its size.
                    let all =
                        runs.iter().fold(0usize, |all, (_, count)| all.saturating_add(*count));
                    (all, RawCounts::Even)
                }
                Place::None | Place::One(_) => (count, RawCounts::Even),
            },
        };
        RawCall {
            counts,
            send: self.send.place.array(),
            recv: self.recv.place.array(),
            ..RawCall::new(collective, dtype, count).op(op).root(root)
        }
    }
}

/// What is needed to read an array's description.
struct Reader {
    world: usize,
    /// Bytes of an element.
    size: usize,
    /// Whether this rank has a use for parts.
    parts: bool,
}

impl Reader {
    /// # Safety
    /// Counts, displacements and arrays of arrays are null or as long as they should be, for `'a`.
    unsafe fn read<'a>(&self, side: &str, given: Given) -> Result<Side<'a>> {
        let without_counts = |place| Ok(Side { place, counts: None });
        match given {
            Given::None => without_counts(Place::None),
            Given::One(array) => without_counts(Place::One(array.cast_mut().cast())),
            Given::Parts { .. } if !self.parts => without_counts(Place::None),
            Given::Parts { base, counts, displacements } => {
                let base: *mut u8 = base.cast_mut().cast();
                require(counts, &format!("the counts of {side}"))?;
                // SAFETY: not null, so by the contract above one for each rank.
                let counts = unsafe { slice::from_raw_parts(counts, self.world) };
                if displacements.is_null() {
                    return Ok(Side { place: Place::One(base), counts: Some(counts) });
                }
                // SAFETY: not null, so by the contract above one for each rank.
                let displacements = unsafe { slice::from_raw_parts(displacements, self.world) };
                let place = self.parts(side, base, counts, displacements)?;
                Ok(Side { place, counts: Some(counts) })
            }
            Given::Many(arrays, number) => {
                if number == 0 {
                    return without_counts(Place::Many(Vec::new()));
                }
                require(arrays, "arrays")?;
                // SAFETY: not null, so by the contract above so many.
                let arrays = unsafe { slice::from_raw_parts(arrays, number) };
                let runs = arrays.iter().map(|array| (array.data.cast(), array.count));
                let runs: Vec<Run> = runs.collect();
                if let Some(at) = runs.iter().position(|run| self.end(*run).is_none()) {
                    let count = arrays[at].count;
                    return Err(invalid(format!(
                        "arrays[{at}].count is {count}: no memory has that"
                    )));
                }
                without_counts(Place::Many(runs))
            }
        }
    }

    /// Where the parts lie: one run where they are packed.
    fn parts(
        &self,
        side: &str,
        base: *mut u8,
        counts: &[usize],
        displacements: &[usize],
    ) -> Result<Place> {
        if base.is_null() {
            // Whether it may be is for the core to say.
            return Ok(Place::One(base));
        }
        let mut runs = Vec::with_capacity(counts.len());
        let (mut packed, mut next) = (true, 0);
        for (rank, (count, displacement)) in counts.iter().zip(displacements).enumerate() {
            let offset = displacement.checked_mul(self.size);
            let offset = offset.filter(|offset| base.addr().checked_add(*offset).is_some());
            let run = offset.map(|offset| (base.wrapping_add(offset), *count));
            let Some(run) = run.filter(|run| self.end(*run).is_some()) else {
                return Err(invalid(format!(
                    "{side} for rank {rank} is {count} elements from {displacement} on: no memory \
                     has that"
                )));
            };
            // Where nothing lies may be anywhere.
            if *count != 0 {
                packed &= *displacement == next;
                next = displacement.saturating_add(*count);
                runs.push(run);
            }
        }
        Ok(if packed { Place::One(base) } else { Place::Many(runs) })
    }

    /// The first byte behind a run, if addresses go that far.
    fn end(&self, (array, count): Run) -> Option<usize> {
        array.addr().checked_add(count.checked_mul(self.size)?)
    }
}
