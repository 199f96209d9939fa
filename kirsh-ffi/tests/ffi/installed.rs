//! What is installed, what it exports, and that CMake and packagers find it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Linkage, blessing, built, compile, header, install, installed, package, program, run_ranks,
    scratch, succeed,
};

/// The symbols of symbols.txt. Where `KIRSH_BLESS` is set, the file becomes what the library exports.
fn listed(exported: &BTreeSet<String>) -> BTreeSet<String> {
    let path = package().join("symbols.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let comment = |line: &&str| line.starts_with('#');
    if blessing() {
        let head = text.lines().filter(comment);
        let lines: Vec<&str> = head.chain(exported.iter().map(String::as_str)).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        return exported.clone();
    }
    text.lines().filter(|line| !comment(line)).map(str::to_owned).collect()
}

#[test]
fn the_library_exports_the_symbols_of_the_list_all_of_them_declared_and_no_other() {
    let library = built().join("libkirsh.so");
    let table = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let exported: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect();
    let listed = listed(&exported);
    assert_eq!(exported, listed, "one that went is a new ABI; one that came joins by make bless");
    for symbol in &listed {
        assert!(symbol.starts_with("kirsh_"), "{symbol}");
        assert!(header().0.contains(&format!("{symbol}(")), "{symbol} is not in kirsh.h");
    }
}

#[test]
fn programs_ask_for_the_library_by_its_abi_number() {
    let sharing = compile(&program("values.c"), Linkage::Shared);
    let needed = succeed(Command::new("readelf").arg("-d").arg(&sharing));
    assert!(needed.contains("[libkirsh.so.0]"), "{needed}");
    let alone = compile(&program("values.c"), Linkage::Static);
    let needed = succeed(Command::new("readelf").arg("-d").arg(&alone));
    assert!(!needed.contains("libkirsh"), "{needed}");
}

#[test]
fn the_installation_is_complete_and_its_links_lead_to_the_library() {
    let library = installed().join("lib");
    let versioned = library.join(concat!("libkirsh.so.", env!("CARGO_PKG_VERSION")));
    for link in ["libkirsh.so", "libkirsh.so.0"] {
        assert_eq!(library.join(link).canonicalize().unwrap(), versioned.canonicalize().unwrap());
    }
    for file in [
        "include/kirsh.h",
        "include/kirsh.hpp",
        "lib/libkirsh.a",
        "lib/pkgconfig/kirsh.pc",
        "lib/cmake/Kirsh/KirshConfig.cmake",
        "lib/cmake/Kirsh/KirshConfigVersion.cmake",
    ] {
        assert!(installed().join(file).is_file(), "{file}");
    }
}

#[test]
fn packagers_get_their_destdir_and_libdir_and_final_paths_inside() {
    let destdir = scratch("destdir");
    std::fs::remove_dir_all(&destdir).unwrap();
    install(Path::new("/opt/kirsh"), Some(&destdir), &[("LIBDIR", "/opt/kirsh/lib/triple")]);
    let library = destdir.join("opt/kirsh/lib/triple");
    let pkg_config = std::fs::read_to_string(library.join("pkgconfig/kirsh.pc")).unwrap();
    assert!(pkg_config.contains("libdir=/opt/kirsh/lib/triple\n"), "{pkg_config}");
    assert!(!pkg_config.contains(destdir.to_str().unwrap()) && !pkg_config.contains('@'));
    let cmake = std::fs::read_to_string(library.join("cmake/Kirsh/KirshConfig.cmake")).unwrap();
    assert!(
        cmake.contains("\"${_kirsh_libdir}/../..\" ABSOLUTE") && !cmake.contains('@'),
        "{cmake}"
    );
}

/// CMake of the PATH, of an active virtual environment, or of the repository's.
fn cmake() -> Option<PathBuf> {
    let repository = package().join("../.venv/bin/cmake");
    let environment = std::env::var_os("VIRTUAL_ENV").map(|dir| Path::new(&dir).join("bin/cmake"));
    let mut candidates = vec![PathBuf::from("cmake"), repository];
    candidates.extend(environment);
    candidates.into_iter().find(|cmake| {
        Command::new(cmake).arg("--version").output().is_ok_and(|o| o.status.success())
    })
}

#[test]
fn a_cmake_project_finds_both_targets_and_its_programs_run() {
    let Some(cmake) = cmake() else {
        eprintln!("skipped: no cmake in PATH, VIRTUAL_ENV or .venv (pip install cmake)");
        return;
    };
    let build = scratch("cmake-build");
    std::fs::remove_dir_all(&build).unwrap();
    let mut configure = Command::new(&cmake);
    configure.arg("-S").arg(package().join("tests/cmake-project")).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", installed().display()));
    succeed(configure.args(["-G", "Unix Makefiles"]));
    succeed(Command::new(&cmake).arg("--build").arg(&build));
    for name in ["with_shared", "with_static"] {
        run_ranks(&build.join(name), &[], 2);
    }
    // A project that asks for a release to come is told so.
    let mut wrong = Command::new(&cmake);
    wrong
        .arg("-S")
        .arg(package().join("tests/cmake-project"))
        .arg("-B")
        .arg(scratch("cmake-wrong"));
    wrong.arg(format!("-DCMAKE_PREFIX_PATH={}", installed().display())).arg("-DKIRSH_WANTED=0.2");
    let output = wrong.output().unwrap();
    assert!(!output.status.success());
    assert!(crate::support::text(&output).contains("0.2"));
}
