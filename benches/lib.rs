//! Benchmarks of Kirsh. `benches/parts.rs` times its parts with criterion; `peers` times whole
//! collectives beside Gloo and MPI. Nothing here is asserted: figures depend on the machine.
