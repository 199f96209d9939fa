//! Benchmarks of Kirsh. `benches/parts` times its parts with criterion; `peers` times whole
//! collectives beside Gloo and MPI; `instructions` counts what a small all-reduce executes. Nothing
//! here is asserted: figures depend on the machine.

pub mod pair;
