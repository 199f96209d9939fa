//! Benchmarks of Kirsh. `benches/parts.rs` times its parts with criterion; `against_gloo.py` times
//! whole all-reduces beside Gloo. Nothing here is asserted: figures depend on the machine.
