//! The connections of a lane, by peer and stripe.

use crate::driver::link::{Link, Port};

/// Most peers have none or one, and a world may be large: what a peer has is made room for when it comes.
pub(super) struct Links(Vec<Vec<Option<Link>>>);

impl Links {
    pub(super) fn new(world: usize) -> Self {
        Links(std::iter::repeat_with(Vec::new).take(world).collect())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, port: Port) -> Option<&mut Link> {
        self.0.get_mut(port.peer as usize)?.get_mut(usize::from(port.stripe))?.as_mut()
    }

    pub(super) fn put(&mut self, port: Port, link: Link) {
        let of_peer = &mut self.0[port.peer as usize];
        let stripe = usize::from(port.stripe);
        if of_peer.len() <= stripe {
            of_peer.resize_with(stripe + 1, || None);
        }
        of_peer[stripe] = Some(link);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter().flatten().flatten()
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}
