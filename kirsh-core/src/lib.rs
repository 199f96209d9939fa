//! Collectives between ordinary Linux machines over io_uring TCP.

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("kirsh runs on 64-bit little-endian Linux only");

#[cfg(feature = "cli")]
pub mod cli;
#[doc(hidden)]
pub mod comm;
#[doc(hidden)]
pub mod driver;
pub mod error;
#[doc(hidden)]
pub mod limits;
pub mod log;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod reduce;
#[doc(hidden)]
pub mod rendezvous;
#[doc(hidden)]
pub mod session;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
pub mod types;
#[doc(hidden)]
pub mod wire;

pub use comm::{
    Buffer, Communicator, Complex, Config, Element, Float8E4m3fn, Float8E5m2, LaneStats, Options,
    PeerStats, RawWork, Received, RecvWork, Source, Stats, Tag, Timeout, Work, set_interrupt_check,
};
pub use error::{Error, ErrorKind, Result, Scope};
pub use types::{Algorithm, Call, Collective, DataType, Rank, ReduceOp, Sequence, Wire};
