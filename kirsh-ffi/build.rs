//! Gives `libkirsh.so` its SONAME.
//!
//! The number behind `.so.` is that of the ABI, not of the release; `docs/ABI.md` says when it
//! changes. Which symbols leave the library needs no word here: rustc hands the linker a version
//! script that exports the `no_mangle` functions and nothing else, and `tests/ffi/symbols.rs` holds
//! the result against `symbols.txt`. (A second script would be an error to GNU ld and to lld alike.)

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkirsh.so.0");
    println!("cargo:rerun-if-changed=build.rs");
}
