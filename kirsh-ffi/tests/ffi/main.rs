//! The C and C++ faces as their users meet them: the headers, the installed library, and programs that
//! are compiled against it, started as ranks, and watched.
//!
//! One binary, so that the library is built and installed once.

mod examples;
mod header;
mod installed;
#[path = "../../../kirsh-core/tests/common/port.rs"]
mod port;
mod programs;
mod support;
