//! The C face of Kirsh: `libkirsh.so` and `libkirsh.a`, declared in `include/kirsh.h`.
//!
//! Thin on purpose. Each file holds one object of the C interface; what all of them share is
//! [`boundary`] (no panic and no error leaves but as a status), [`sized`] (structs that begin with
//! their size) and [`text`] (strings that C hands in). Whatever a collective does, and whatever it
//! refuses, is decided in `kirsh_core::comm`, so that every language hears the same words.
//!
//! The names are those of C, and the comments on exported items are the text of the header, which
//! cbindgen makes of this crate (`cbindgen.toml`; `make bless`).

#![allow(non_camel_case_types)]
// What callers of an exported function must uphold stands once, in the rules at the top of
// `kirsh.h`; the comments here go into that header word for word.
#![allow(clippy::missing_safety_doc)]

#[macro_use]
mod boundary;

// The groups stand in the order of the header's functions.
pub mod version;

pub mod numbers;
pub mod status;

pub mod error;
pub mod log;

pub mod config;
pub mod options;

pub mod comm;
pub mod group;
pub mod stats;

// Declares a struct of the header.
pub mod asked;

pub mod collective;

pub mod plan;

pub mod message;

pub mod work;

pub mod store;

mod sized;
mod text;
