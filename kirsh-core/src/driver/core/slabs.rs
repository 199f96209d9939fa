//! The slabs of a lane's links: leased on first use, and kept.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{Lease, Pool};
use crate::session::SlabId;

/// The memory of one slab, and what is known of its contents.
pub(super) struct Slab {
    lease: Lease,
    /// The checksum that came behind the payload, not yet held against it.
    pub(super) claimed: Option<u32>,
}

impl Slab {
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.lease.as_ptr()
    }
}

pub(super) struct Slabs {
    /// By the session's link number and slab index.
    of_links: Vec<Vec<Option<Slab>>>,
    pool: Pool,
}

impl Slabs {
    pub(super) fn new(pool: Pool) -> Self {
        Slabs { of_links: Vec::new(), pool }
    }

    /// A slab that has been leased.
    pub(super) fn get_mut(&mut self, id: SlabId) -> Option<&mut Slab> {
        self.of_links.get_mut(id.link as usize)?.get_mut(id.index as usize)?.as_mut()
    }

    /// Where a slab lies, which is leased now if it has not been.
    ///
    /// # Errors
    /// Where the pool has no more.
    pub(super) fn lease(&mut self, id: SlabId) -> Result<*mut u8> {
        let (link, index) = (id.link as usize, id.index as usize);
        if self.of_links.len() <= link {
            self.of_links.resize_with(link + 1, Vec::new);
        }
        let of_link = &mut self.of_links[link];
        if of_link.len() <= index {
            of_link.resize_with(index + 1, || None);
        }
        if of_link[index].is_none() {
            of_link[index] = self.pool.lease()?.map(|lease| Slab { lease, claimed: None });
        }
        of_link[index].as_ref().map(Slab::as_ptr).ok_or_else(|| {
            Error::new(ErrorKind::System, "the pool of receive slabs is out of memory")
        })
    }
}
