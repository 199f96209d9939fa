//! Builds and installs the library, compiles programs against it, and runs them as ranks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::port;

/// How long a set of ranks may take. The programs need a second; the rest is for busy machines.
const RUN_SECONDS_MAX: u64 = 120;

/// Which of the two libraries a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Linkage {
    Shared,
    Static,
}

/// This package's directory.
pub(crate) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory of this test run, below cargo's own for such things.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The directory that cargo puts libkirsh.so and libkirsh.a into, with both up to date.
///
/// Cargo does not build a cdylib for the sake of an integration test, so it is asked to. Its lock on the
/// directory is free while tests run.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--lib", "--manifest-path"]);
        cargo.arg(package().join("Cargo.toml"));
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        succeed(&mut cargo);
        profile.to_owned()
    })
}

/// `include/kirsh.h` as cbindgen makes it, and as it is committed. Where `KIRSH_BLESS` is set the two
/// are made the same first, before any other test looks at the file.
pub(crate) fn header() -> &'static (String, String) {
    static HEADER: OnceLock<(String, String)> = OnceLock::new();
    HEADER.get_or_init(|| {
        let path = package().join("../include/kirsh.h");
        let config = cbindgen::Config::from_file(package().join("cbindgen.toml")).unwrap();
        let bindings =
            cbindgen::Builder::new().with_crate(package()).with_config(config).generate().unwrap();
        let mut made = Vec::new();
        bindings.write(&mut made);
        if blessing() {
            std::fs::write(&path, &made).unwrap();
        }
        (String::from_utf8(made).unwrap(), std::fs::read_to_string(&path).unwrap_or_default())
    })
}

/// Whether generated files are to be remade instead of compared.
pub(crate) fn blessing() -> bool {
    std::env::var_os("KIRSH_BLESS").is_some()
}

/// The prefix of an installation made by install.sh.
pub(crate) fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        header();
        let prefix = scratch("prefix");
        std::fs::remove_dir_all(&prefix).unwrap();
        install(&prefix, None, &[]);
        prefix
    })
}

/// Runs install.sh as a user would.
pub(crate) fn install(prefix: &Path, destdir: Option<&Path>, environment: &[(&str, &str)]) {
    let mut script = Command::new("sh");
    script.arg(package().join("install.sh")).arg(prefix).args(destdir);
    script
        .env("KIRSH_BUILD", built())
        .env_remove("LIBDIR")
        .env_remove("DESTDIR")
        .envs(environment.iter().copied());
    succeed(&mut script);
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// What pkg-config says about the installation.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    let words = succeed(command.args(arguments).arg("kirsh"));
    words.split_whitespace().map(str::to_owned).collect()
}

/// Compiles a program as its user would, with every warning an error: C99 or C++20 by its suffix.
pub(crate) fn compile(source: &Path, linkage: Linkage) -> PathBuf {
    let cpp = source.extension().is_some_and(|suffix| suffix == "cpp");
    let name = source.file_stem().unwrap().to_str().unwrap();
    // Each linkage of each source has a name of its own; two tests that compile the same one would
    // overwrite it under each other's feet, so the caller's thread takes part in the name.
    let thread = std::thread::current().name().unwrap_or("main").replace("::", "-");
    let program = scratch("programs").join(format!("{name}-{linkage:?}-{thread}"));
    let mut compiler = Command::new(if cpp { "c++" } else { "cc" });
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];
    compiler.arg(if cpp { "-std=c++20" } else { "-std=c99" }).args(warnings).arg("-O1");
    compiler.args(pkg_config(&["--cflags"])).arg("-o").arg(&program).arg(source);
    match linkage {
        Linkage::Shared => {
            let libdir = pkg_config(&["--variable=libdir"]).remove(0);
            compiler.args(pkg_config(&["--libs"])).arg(format!("-Wl,-rpath,{libdir}"));
        }
        Linkage::Static => {
            compiler.args(
                pkg_config(&["--static", "--libs"])
                    .into_iter()
                    .map(|word| if word == "-lkirsh" { "-l:libkirsh.a".to_owned() } else { word }),
            );
        }
    }
    succeed(&mut compiler);
    program
}

/// One of the sources under tests/programs.
pub(crate) fn program(name: &str) -> PathBuf {
    package().join("tests/programs").join(name)
}

/// Runs a command as so many ranks that meet on loopback, and returns what each printed. Every rank has
/// to end well and in time.
pub(crate) fn run_ranks(program: &Path, arguments: &[&str], ranks: u32) -> Vec<String> {
    let outputs = scratch("outputs");
    let name = program.file_name().unwrap().to_str().unwrap();
    let rendezvous = format!("tcp://127.0.0.1:{}", port::free_port());
    let mut children: Vec<(PathBuf, Option<Child>)> = Vec::new();
    for rank in 0..ranks {
        let output = outputs.join(format!("{name}-{rank}"));
        let file = File::create(&output).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        // What a launcher around this test may have set is not for these ranks.
        let foreign = ["KIRSH_", "MASTER_", "LOCAL_", "PMI", "SLURM_", "OMPI_", "TORCHELASTIC_"];
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy().into_owned();
            // The choice of a driver is: the whole test may run on either.
            if foreign.iter().any(|prefix| key.starts_with(prefix)) && key != "KIRSH_DRIVER" {
                command.env_remove(key);
            }
        }
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", ranks.to_string());
        command.env("KIRSH_RENDEZVOUS", &rendezvous);
        children.push((output, Some(command.spawn().unwrap())));
    }
    let deadline = Instant::now() + Duration::from_secs(RUN_SECONDS_MAX);
    let mut failures = Vec::new();
    while children.iter().any(|(_, child)| child.is_some()) {
        for (rank, (_, slot)) in children.iter_mut().enumerate() {
            let Some(child) = slot else { continue };
            if let Some(status) = child.try_wait().unwrap() {
                if !status.success() {
                    failures.push(format!("rank {rank}: {status}"));
                }
                *slot = None;
            } else if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                failures.push(format!("rank {rank}: still running after {RUN_SECONDS_MAX} s"));
                *slot = None;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let printed: Vec<String> =
        children.iter().map(|(path, _)| std::fs::read_to_string(path).unwrap()).collect();
    assert!(failures.is_empty(), "{name}: {}\n{}", failures.join(", "), printed.join("---\n"));
    printed
}
