//! Slabs of one size, lent and taken back without allocating.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::region::Region;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SLAB_ALIGNMENT;

/// A lender of slabs: pieces of memory of one size, cut from [`Region`]s.
///
/// A clone is another handle of the same pool. The pool starts empty and grows when all its slabs
/// are out: by as many as it has, so that a small user stays small, up to its maximum. Once it has
/// grown, lending and returning allocate nothing. The slab returned last is lent first, because it
/// is the one still in the processor's cache. The memory goes back to the system when the last
/// handle and the last lease are gone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// A slab on loan, the holder's alone until it is dropped; then it goes back by itself.
///
/// What is in it is what its last holder left, zeros at first. A lease keeps the memory alive, also
/// without a handle of the pool. While the kernel works on a slab, somebody must hold its lease.
pub struct Lease {
    pool: Arc<Shared>,
    start: NonNull<u8>,
}

/// What a pool holds and lends at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of one slab.
    pub slab_len: usize,
    /// Slabs that the pool may have.
    pub slabs_max: usize,
    /// Slabs that it has made so far.
    pub slabs_made: usize,
    /// Slabs that are on loan now.
    pub slabs_leased: usize,
    /// Bytes of address space behind them. What of it is resident is what has been written.
    pub bytes_mapped: usize,
}

struct Shared {
    slab_len: usize,
    slabs_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    regions: Vec<Region>,
    made: usize,
    /// The slabs at home. Its capacity is at least `made`, so that a return never allocates.
    home: Vec<Slab>,
}

/// The address of a slab that is at home.
struct Slab(NonNull<u8>);

// SAFETY: a slab at home is referred to by nobody, so any thread may lend it; the pool's lock
// hands it from one to the next.
unsafe impl Send for Slab {}

impl Pool {
    /// A pool of slabs of `slab_len` bytes, no more than `slabs_max`. Maps nothing yet.
    pub fn new(slab_len: usize, slabs_max: usize) -> Pool {
        Pool(Arc::new(Shared { slab_len, slabs_max, state: Mutex::default() }))
    }

    /// A slab, or `None` while all `slabs_max` are out. Does not wait for one.
    ///
    /// # Errors
    /// `System` or `InvalidArgument` where the pool had to grow and could not.
    pub fn lease(&self) -> Result<Option<Lease>> {
        let mut state = self.0.state();
        if state.home.is_empty() {
            self.0.grow(&mut state)?;
        }
        let slab = state.home.pop();
        Ok(slab.map(|slab| Lease { pool: Arc::clone(&self.0), start: slab.0 }))
    }

    /// How the pool stands now; another thread may change it at once.
    pub fn stats(&self) -> PoolStats {
        let state = self.0.state();
        PoolStats {
            slab_len: self.0.slab_len,
            slabs_max: self.0.slabs_max,
            slabs_made: state.made,
            slabs_leased: state.made - state.home.len(),
            bytes_mapped: state.regions.iter().map(Region::len).sum(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock leaves the state half changed, so a panic of its holder means
        // nothing to the next.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Doubles the slabs, at most up to the maximum.
    fn grow(&self, state: &mut State) -> Result<()> {
        let more = state.made.max(1).min(self.slabs_max - state.made);
        if more == 0 {
            return Ok(());
        }
        let stride = self.slab_len.max(1).checked_next_multiple_of(SLAB_ALIGNMENT);
        let Some((stride, len)) =
            stride.and_then(|stride| Some((stride, stride.checked_mul(more)?)))
        else {
            let message =
                format!("{more} slabs of {} bytes are more than memory holds", self.slab_len);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        let region = Region::new(len)?;
        let made = state.made + more;
        state.home.reserve_exact(made - state.home.len());
        state.regions.reserve(1);
        // Backwards, so that slabs are lent from the front of the region on.
        for index in (0..more).rev() {
            // SAFETY: `index < more`, so the slab lies in the region, which has `stride * more`
            // bytes at least; and no region lies at address 0.
            let start = unsafe { NonNull::new_unchecked(region.as_ptr().add(index * stride)) };
            state.home.push(Slab(start));
        }
        state.regions.push(region);
        state.made = made;
        Ok(())
    }
}

impl Lease {
    /// The slab's first byte, on a boundary of
    /// [`SLAB_ALIGNMENT`](crate::limits::SLAB_ALIGNMENT). Good for reading and writing
    /// [`len`](Self::len) bytes until the lease is dropped.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes of the slab.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.pool.slab_len
    }

    /// Makes the slab's first `len` bytes an immutable `Bytes`, without copying them. The slab goes
    /// back to its pool with the last clone. Allocates: it is for the edges of the API.
    ///
    /// From here on nobody may write through a pointer that [`as_ptr`](Self::as_ptr) gave.
    ///
    /// # Panics
    /// Where `len` is more than the slab has: the caller has gone wrong before, since a length is
    /// held against the slab before anything is received into it.
    pub fn into_bytes(self, len: usize) -> Bytes {
        assert!(len <= self.len(), "{len} bytes of a slab of {}", self.len());
        Bytes::from_owner(Frozen { lease: self, len })
    }
}

// SAFETY: a lease is the only way to its slab, whichever thread holds it, and the slab goes home
// under the pool's lock.
unsafe impl Send for Lease {}
// SAFETY: what a shared lease gives is an address and a length; who writes through the address
// sees to the ordering.
unsafe impl Sync for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        debug_assert!(state.home.len() < state.home.capacity());
        state.home.push(Slab(self.start));
    }
}

/// A slab that is only read from now on.
struct Frozen {
    lease: Lease,
    len: usize,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the lease holds the slab, `len` is no more than it has, its bytes were zeros or
        // written since, and nobody writes them after `into_bytes`.
        unsafe { std::slice::from_raw_parts(self.lease.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:p}, {} bytes)", self.start, self.len())
    }
}

#[cfg(test)]
mod tests;
