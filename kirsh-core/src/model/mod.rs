//! What a collective costs: real plans, evaluated under costs of links, processors and folds.
//!
//! [`network`] holds the costs, [`table`] their text and bytes. [`evaluate`] walks the plans of all
//! ranks, or of those that stand for all, by the session's rules and adds up when each is through;
//! no payload and no clock is near. [`choice`] asks it which algorithm and slice a call should
//! have, and `kirsh simulate` asks it about networks that nobody has at hand ([`scenario`]; [`units`]
//! reads what people write).
//!
//! Everything is arithmetic on whole numbers, so that ranks with the same table choose alike.

#![forbid(unsafe_code)]

mod channels;
pub mod choice;
mod evaluate;
mod known;
mod load;
mod network;
mod predict;
pub mod scenario;
mod smaller;
mod symmetry;
mod table;
#[cfg(test)]
mod tests;
pub mod units;

pub use channels::ChannelRule;
pub use evaluate::{Outcome, Walk};
pub use network::{
    Class, Costs, FRAME_BYTES, Layout, Link, Network, Straggler, Switch, Time, wire_fs,
};
pub use predict::{Effort, Prediction, Predictor, predict};
pub use symmetry::Symmetry;
