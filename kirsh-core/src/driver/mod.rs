//! The only part that makes system calls for data and that knows the time.
//!
//! From the bottom: [`io`] is the seam to the kernel, with [`uring`] and [`poll`] below it and
//! [`choose`] between them; a `link` is one connection and its frames; a `core` does what a
//! session asks; a `lane` says who drives it, by means of a `baton`; the `progress` thread drives
//! what nobody else does and keeps the control links; a `process` owns them all.

pub mod array;
mod baton;
pub(crate) mod channel;
pub mod choose;
pub mod clock;
pub mod completion;
mod core;
pub(crate) mod counters;
pub(crate) mod direct;
pub mod doorbell;
pub mod fork;
pub mod interrupt;
pub mod io;
pub mod job;
pub mod lane;
mod link;
pub mod local;
mod mail;
mod makings;
pub(crate) mod members;
mod observed;
pub(crate) mod parts;
mod peer;
pub mod poll;
pub mod process;
mod progress;
mod rate;
mod sending;
pub mod socket;
mod spin;
mod sums;
mod sync;
mod thread;
mod trace;
mod transfer;
pub mod uring;
mod zero_copy;

pub(crate) use counters::OBSERVE;
pub(crate) use observed::Observed;
pub(crate) use peer::{ONE_RAIL, Peer, Rails};
pub(crate) use progress::{Facts, Roll};
pub(crate) use trace::Trace;
pub use zero_copy::ZeroCopy;

#[cfg(test)]
mod tests;
