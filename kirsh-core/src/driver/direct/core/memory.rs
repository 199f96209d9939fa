//! Where the bytes of messages lie: in what callers lent, in slabs, and for those that nobody takes in
//! a sink.

use super::DirectCore;
use crate::driver::array::{Array, Place};
use crate::driver::link::NOWHERE;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::EAGER_BYTES_MAX;
use crate::memory::{Lease, copy};
use crate::session::direct::{HeldSlab, Landing, Ticket};

impl DirectCore {
    /// The memory for a payload; `None` where none may come.
    pub(super) fn place(&mut self, landing: Landing, length: u32) -> Result<Option<Place>> {
        let len = u64::from(length);
        Ok(Some(match landing {
            Landing::Refused => return Ok(None),
            Landing::Nothing => NOWHERE,
            Landing::Place(ticket, offset) => match self.entries.get(&ticket) {
                Some(entry) => Place::new(entry.memory.clone(), offset, len),
                None => return Ok(None),
            },
            Landing::Slab(slab) => {
                let at = self.slab(slab)?;
                Place::new(Array::One(at), 0, len)
            }
            Landing::Drop => {
                if self.sink.is_none() {
                    self.sink = Some(self.lease()?);
                }
                let at = self.sink.as_ref().map_or(std::ptr::null_mut(), Lease::as_ptr);
                let room = EAGER_BYTES_MAX as u64;
                let runs = (0..len.div_ceil(room)).map(|n| (at, room.min(len - n * room)));
                Place::new(Array::many(runs), 0, len)
            }
        }))
    }

    fn lease(&self) -> Result<Lease> {
        self.pool.lease()?.ok_or_else(|| {
            Error::new(ErrorKind::System, "the pool of slabs for messages is out of memory")
        })
    }

    /// The memory of a slab, leased when it is first named.
    pub(super) fn slab(&mut self, slab: HeldSlab) -> Result<*mut u8> {
        if !self.slabs.contains_key(&slab) {
            let lease = self.lease()?;
            self.slabs.insert(slab, lease);
        }
        Ok(self.slabs.get(&slab).map_or(std::ptr::null_mut(), Lease::as_ptr))
    }

    /// Where an operation's memory begins.
    pub(super) fn memory(&self, ticket: Ticket) -> Option<*mut u8> {
        let entry = self.entries.get(&ticket)?;
        entry.memory.pieces(0, 1).next().map(|(at, _)| at)
    }

    pub(super) fn copy(&self, from: Option<*mut u8>, to: Option<*mut u8>, len: u64) {
        if let (Some(from), Some(to)) = (from, to) {
            // SAFETY: both are slabs of at least this length or memory lent for at least as much, of
            // operations that the session has not finished, and with no frame of theirs in flight;
            // a send's buffer and a receive's are apart, as whoever lent them promised.
            unsafe { copy(from, to, len as usize, &self.lane.counters.copied) };
        }
    }
}
