//! The committed headers are what the sources say, and compile everywhere without a warning.

use std::process::Command;

use crate::support::{header, package, scratch, succeed};

#[test]
fn the_header_is_the_one_that_cbindgen_makes_of_the_sources() {
    let (made, committed) = header();
    assert!(made == committed, "include/kirsh.h differs from the sources: make bless");
}

/// Compiles a file that includes one header, twice, and nothing else.
fn compiles(compiler: &str, standard: &str, name: &str, suffix: &str) {
    header();
    let source = scratch("headers").join(format!("alone-{standard}-{name}.{suffix}"));
    std::fs::write(&source, format!("#include <{name}>\n#include <{name}>\n")).unwrap();
    let mut command = Command::new(compiler);
    command.arg(format!("-std={standard}")).arg("-pedantic-errors");
    command.args(["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only"]);
    succeed(command.arg("-I").arg(package().join("../include")).arg(&source));
}

#[test]
fn the_c_header_stands_alone_in_old_and_new_c_and_in_cpp() {
    for standard in ["c99", "c11", "c17", "c2x"] {
        compiles("cc", standard, "kirsh.h", "c");
    }
    for standard in ["c++11", "c++20"] {
        compiles("c++", standard, "kirsh.h", "cpp");
    }
}

#[test]
fn the_cpp_header_stands_alone_in_cpp_20_and_later() {
    for standard in ["c++20", "c++2b"] {
        compiles("c++", standard, "kirsh.hpp", "cpp");
    }
}
