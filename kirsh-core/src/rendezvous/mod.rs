//! How ranks find together before any collective link exists: who am I, where do we meet, which
//! addresses has this host, and the table of all ranks that comes out of the meeting.
//!
//! Everything here blocks the calling thread, within a deadline, and never runs on the progress
//! thread. It knows types, limits, errors and [`crate::wire::auth`]; it knows nothing of frames,
//! plans or communicators.
//!
//! From the top: [`identity`], [`launchers`] and [`settings`] read the environment, [`token`] the secret, and
//! [`address`] the host; [`open`] makes a [`store`] of a rendezvous (over TCP or a shared
//! directory, or the caller brings one); [`join`] turns a store into a [`Table`].

pub mod address;
pub mod file_store;
pub mod identity;
pub mod join;
pub mod launchers;
pub mod open;
pub mod path;
pub mod rails;
pub mod settings;
pub mod store;
pub mod table;
pub mod tcp_server;
pub mod tcp_store;
pub mod token;

mod agree;
mod codec;
mod filter;
mod patience;
mod published;
mod shelf;
mod sys;
mod tcp_client;
mod tcp_dial;
mod tcp_wire;
mod values;

#[cfg(test)]
mod tests;

pub use address::{InterfaceFilter, host_id};
pub use file_store::FileStore;
pub use identity::{Arguments, Env, Identity, Rendezvous, Source};
pub use join::{await_count, join, linger};
pub use open::{Opened, open};
pub use patience::Patience;
pub use store::{Prefix, Store};
pub use table::{Joiner, Member, Table};
pub use tcp_server::TcpServer;
pub use tcp_store::TcpStore;
