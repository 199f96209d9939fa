//! The collectives: each one runs where `work_out` is null, and starts where it is not.
//!
//! A function here only says what is asked; `asked` does the rest, in the same way for all.

pub mod moving;
pub mod reducing;
pub mod unequal;
