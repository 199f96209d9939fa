//! One file for each kind of entry that the driver pushes.

pub(super) mod poll;
pub(super) mod receive;
pub(super) mod send;
