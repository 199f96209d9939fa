//! The committed headers are what the sources say, and compile everywhere without a warning.

use std::path::Path;

/// Makes `include/kirsh.h` anew when `KIRSH_BLESS` is set, and else compares.
#[test]
fn the_header_is_the_one_that_cbindgen_makes_of_the_sources() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = package.join("../include/kirsh.h");
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings =
        cbindgen::Builder::new().with_crate(package).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    if std::env::var_os("KIRSH_BLESS").is_some() {
        std::fs::write(&committed, &made).unwrap();
        return;
    }
    let found = std::fs::read(&committed).unwrap_or_default();
    assert!(
        found == made,
        "include/kirsh.h differs from the sources: KIRSH_BLESS=1 cargo test -p kirsh-ffi header"
    );
}
