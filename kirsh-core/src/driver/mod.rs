//! The only part that makes system calls for data and that knows the time.

pub mod choose;
pub mod clock;
pub mod doorbell;
pub mod fork;
pub mod io;
pub mod poll;
pub mod socket;
pub mod uring;

#[cfg(test)]
mod tests;
