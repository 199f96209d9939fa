//! The only part that makes system calls for data and that knows the time.

pub mod clock;
pub mod io;
