//! The Python face: the extension module `kirsh._kirsh` under the package `kirsh`.
//!
//! It knows the public Rust interface of kirsh-core and the interpreter, nothing else. The methods that
//! users call, with their documentation and types, are Python (`kirsh/_reducing.py` and its
//! neighbours). A collective comes in by `Communicator._call` or `_plan`, `shapes` makes a `Request` of
//! its arguments, and that is what the core is asked; so a collective is a method there and an arm in
//! `shapes`. Messages between two ranks come in by the functions of `message`, and
//! what `kirsh.torch` asks for, by addresses, by those of `raw`. Three rules hold
//! everywhere in here:
//! - whatever may wait is called detached from the interpreter (without the GIL);
//! - memory that a started operation works on is kept alive until that operation is over, also
//!   when nobody holds the `Work` any more;
//! - a collective call that this side turns down is announced to the peers, so that they fail with
//!   its reason and do not wait for a call that never comes.

mod arguments;
mod array;
mod communicator;
mod exceptions;
mod fresh;
mod graveyard;
mod group;
mod interrupt;
mod leave;
mod logging;
mod memory;
mod message;
mod operand;
mod plan;
mod raw;
mod request;
mod shapes;
mod simulate;
mod stats;
mod store;
mod waits;
mod work;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Run the `kirsh` command with these arguments, the first being its name; return the exit code.
#[pyfunction]
fn cli_main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    py.detach(|| kirsh_core::cli::main(argv))
}

#[pymodule]
fn _kirsh(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<communicator::Communicator>()?;
    module.add_class::<group::Made>()?;
    module.add_class::<memory::Memory>()?;
    module.add_class::<message::Received>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<stats::Stats>()?;
    module.add_class::<stats::LaneStats>()?;
    module.add_class::<stats::PeerStats>()?;
    module.add_class::<work::Work>()?;
    module.add("ANY_SOURCE", message::ANY_SOURCE)?;
    module.add("ANY_TAG", message::ANY_TAG)?;
    module.add_function(wrap_pyfunction!(cli_main, module)?)?;
    module.add_function(wrap_pyfunction!(leave::leave_all, module)?)?;
    module.add_function(wrap_pyfunction!(message::send, module)?)?;
    module.add_function(wrap_pyfunction!(message::recv, module)?)?;
    module.add_function(wrap_pyfunction!(message::sendrecv, module)?)?;
    module.add_function(wrap_pyfunction!(raw::call_at, module)?)?;
    module.add_function(wrap_pyfunction!(raw::send_at, module)?)?;
    module.add_function(wrap_pyfunction!(raw::recv_at, module)?)?;
    module.add_function(wrap_pyfunction!(raw::refuse_call, module)?)?;
    module.add_function(wrap_pyfunction!(raw::feed_back_at, module)?)?;
    module.add_function(wrap_pyfunction!(simulate::simulate, module)?)?;
    module.add_function(wrap_pyfunction!(waits::wait_all, module)?)?;
    module.add_function(wrap_pyfunction!(waits::wait_any, module)?)?;
    module.add_function(wrap_pyfunction!(logging::log_next, module)?)?;
    module.add_function(wrap_pyfunction!(logging::log_level, module)?)?;
    module.add_function(wrap_pyfunction!(logging::log_stop, module)?)?;
    interrupt::install();
    logging::install();
    Ok(())
}
