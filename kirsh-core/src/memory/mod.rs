//! Memory of the library's own: regions of pages, pools of slabs cut from them, and the one
//! function that copies payload.
//!
//! Nothing here knows what the bytes mean or who waits for them.

mod copy;
mod node;
mod pool;
mod region;

pub use self::copy::{Counter, copy};
pub use self::pool::{Lease, Pool, PoolStats};
pub use self::region::Region;
