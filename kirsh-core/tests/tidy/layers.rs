//! Imports point downwards only.

use crate::source::Source;

/// What every layer may use.
const BASE: [&str; 3] = ["types", "limits", "error"];

/// The layers of the core from the bottom, and what each may use beside [`BASE`] and itself.
const LAYERS: [(&str, &[&str]); 15] = [
    ("types", &[]),
    ("limits", &[]),
    ("error", &[]),
    ("wire", &[]),
    ("plan", &[]),
    ("reduce", &[]),
    ("memory", &[]),
    ("model", &["plan"]),
    ("session", &["wire", "plan"]),
    ("sim", &["session", "plan", "wire"]),
    ("driver", &["session", "wire", "plan", "reduce", "memory"]),
    ("rendezvous", &["wire"]),
    ("log", &["rendezvous"]),
    (
        "comm",
        &["driver", "rendezvous", "session", "model", "wire", "plan", "reduce", "memory", "log"],
    ),
    ("cli", &["comm", "rendezvous", "model", "plan", "sim", "log"]),
];

/// What the faces, the examples and the benches do not know of: the inside of the core.
const INSIDE: [&str; 8] = ["wire", "plan", "reduce", "memory", "session", "model", "driver", "sim"];

pub(crate) fn check(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let code: String = source.lines().iter().flat_map(|(_, line)| [line, "\n"]).collect();
    let numbers: Vec<usize> = source.lines().iter().map(|(number, _)| *number).collect();
    let number = |at: usize| numbers[code[..at].matches('\n').count()];
    let mut complaints = Vec::new();
    let Some(inside) = source.path.strip_prefix("kirsh-core/src/") else {
        let face = source.path.starts_with("kirsh-ffi/src")
            || source.path.starts_with("python/src")
            || source.path.starts_with("examples");
        for (at, path) in paths(&code, "kirsh_core::").into_iter().filter(|_| face) {
            if INSIDE.contains(&first(&path)) {
                let what = format!("a face knows nothing of kirsh_core::{path}");
                complaints.push(source.complain(number(at), &what));
            }
        }
        return complaints;
    };
    let layer = first(inside.trim_end_matches(".rs").split('/').next().unwrap_or(inside));
    if matches!(layer, "lib" | "bin") {
        return complaints;
    }
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![
            source.complain(1, &format!("{layer} is no layer: see LAYERS in tidy/layers.rs")),
        ];
    };
    for (at, path) in paths(&code, "crate::") {
        let used = first(&path);
        let known = LAYERS.iter().any(|(name, _)| *name == used);
        let allowed = used == layer || BASE.contains(&used) || below.contains(&used);
        // What the crate's root re-exports, it does for others.
        if !allowed && (known || used.starts_with(char::is_uppercase)) {
            let what = format!("{layer} must not use crate::{path}");
            complaints.push(source.complain(number(at), &what));
        }
    }
    let depth = inside.trim_end_matches("/mod.rs").split('/').count();
    let up = "super::".repeat(depth);
    if let Some(at) = code.find(&up) {
        let what = "this leaves the layer; say crate:: instead, so that it shows";
        complaints.push(source.complain(number(at), what));
    }
    complaints
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

/// The paths behind a root such as `crate::`, with their places; groups are taken apart.
fn paths(code: &str, root: &str) -> Vec<(usize, String)> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + root.len()..];
        let end = rest.find(|c: char| !part(c)).unwrap_or(rest.len());
        let stem = rest[..end].trim_end_matches(':');
        let group =
            rest[end..].strip_prefix('{').filter(|_| stem.is_empty() || rest[..end].ends_with(':'));
        match group {
            None => paths.push((at, stem.to_owned())),
            Some(group) => {
                let prefix = if stem.is_empty() { String::new() } else { format!("{stem}::") };
                for item in members(group) {
                    let end = item.find(|c: char| !part(c)).unwrap_or(item.len());
                    paths.push((at, format!("{prefix}{}", item[..end].trim_end_matches(':'))));
                }
            }
        }
    }
    paths
}

/// The members of a group, up to its closing brace; inner groups stay whole.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(group[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|member| !member.is_empty());
    found
}

#[test]
fn canary_imports_that_point_upwards_or_sideways_are_refused() {
    let complaints = |path: &str, text: &str| check(&Source::new(path, text)).len();
    for (path, text) in [
        ("kirsh-core/src/wire/a.rs", "use crate::plan::Plan;"),
        ("kirsh-core/src/plan/a.rs", "use crate::{types::Rank, session::Session};"),
        ("kirsh-core/src/model/a.rs", "use crate::session::Session;"),
        ("kirsh-core/src/session/a.rs", "use crate::memory::{\n    Pool,\n};"),
        ("kirsh-core/src/session/mod.rs", "fn f() { crate::driver::clock::now_ns(); }"),
        ("kirsh-core/src/sim/world.rs", "use crate::driver::lane::Lane;"),
        ("kirsh-core/src/driver/a.rs", "use crate::rendezvous::Store;"),
        ("kirsh-core/src/driver/a.rs", "use crate::rendezvous::Member;"),
        ("kirsh-core/src/driver/progress/facts.rs", "use crate::rendezvous::table::Member;"),
        ("kirsh-core/src/rendezvous/a.rs", "use crate::driver::lane::Lane;"),
        ("kirsh-core/src/comm/a.rs", "use crate::cli::main;"),
        ("kirsh-core/src/comm/a.rs", "use crate::Communicator;"),
        ("kirsh-core/src/cli/run/mod.rs", "use crate::driver::choose::choose;"),
        ("kirsh-core/src/types.rs", "use crate::wire::Header;"),
        ("kirsh-core/src/wire/mod.rs", "use super::plan::Plan;"),
        ("kirsh-core/src/wire/handshake/a.rs", "use super::super::super::plan::Plan;"),
        ("kirsh-core/src/newcomer/a.rs", "fn f() {}"),
        ("kirsh-ffi/src/comm.rs", "use kirsh_core::driver::lane::Lane;"),
        ("python/src/lib.rs", "use kirsh_core::{comm::Options, session::Session};"),
        ("examples/minimal.rs", "use kirsh_core::plan;"),
    ] {
        assert_eq!(complaints(path, text), 1, "{path}: {text}");
    }
    for (path, text) in [
        (
            "kirsh-core/src/wire/handshake/a.rs",
            "use super::super::TRAILER_BYTES; use crate::types::Rank;",
        ),
        ("kirsh-core/src/plan/a.rs", "//! Walked by [`crate::session::Session`]."),
        ("kirsh-core/src/plan/a.rs", "#[cfg(test)]\nmod tests {\n use crate::sim::World;\n}"),
        ("kirsh-core/src/cli/info.rs", "use crate::comm::Config; use crate::rendezvous::settings;"),
        ("kirsh-ffi/src/comm.rs", "use kirsh_core::{Communicator, comm::Options};"),
    ] {
        assert_eq!(complaints(path, text), 0, "{path}: {text}");
    }
}
