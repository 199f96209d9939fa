//! `kirsh info`: what would happen here and why, and a code that says whether it would work.

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cli_support::{Kirsh, Output};
use kirsh_core::rendezvous::settings;
use serde_json::Value;

const SECRET: &str = "5ecretbeyondguessing0123";

fn info(arguments: &str) -> Kirsh {
    Kirsh::new(["info"]).args(arguments.split_whitespace())
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

/// The lines under one heading, of which only the first shows it.
fn entry(out: &Output, heading: &str) -> Vec<String> {
    let lines = out.stdout_lines();
    let from = lines.iter().skip_while(|line| !line.starts_with(heading));
    let mut under = from.map(|line| line.split_at_checked(15).unwrap_or((line, "")));
    let first = under.next().unwrap_or_else(|| panic!("no {heading:?}: {out:?}")).1;
    let rest = under.take_while(|(heading, line)| heading.trim().is_empty() && !line.is_empty());
    [first].into_iter().chain(rest.map(|(_, line)| line)).map(str::to_owned).collect()
}

#[test]
fn a_host_at_rest_is_described_and_has_no_problems() {
    let out = info("").run();
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(out.stdout_lines()[0], format!("kirsh {}", env!("CARGO_PKG_VERSION")));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(entry(&out, "kernel"), [kernel.trim()]);
    let cores = std::thread::available_parallelism().unwrap().to_string();
    assert!(entry(&out, "cores")[0].starts_with(&cores), "{out:?}");
    for heading in ["host", "locked memory", "descriptors", "congestion", "published"] {
        assert!(!entry(&out, heading)[0].contains("unknown"), "{heading}: {out:?}");
    }
    assert_eq!(entry(&out, "identity"), ["rank 0 of 1 (nothing set: a world of one)"]);
    assert_eq!(entry(&out, "rendezvous"), ["none needed"]);
    assert!(!out.stdout_lines().join("\n").contains("problems"), "{out:?}");
}

#[test]
fn the_driver_comes_with_its_reason() {
    let out = info("").env("KIRSH_DRIVER", "poll").run();
    assert_eq!(entry(&out, "driver"), ["poll: KIRSH_DRIVER=poll asks for it"]);
    let chosen = json(&info("--json").run());
    let driver = &chosen["driver"];
    assert_eq!(driver["forced"], false);
    let features = driver["features"].as_array().unwrap().len();
    let is_uring = driver["name"] == "uring";
    assert_eq!(features > 0, is_uring, "only a ring has features: {driver}");
    assert!(driver["why"].as_str().unwrap().contains("io_uring"), "{driver}");

    let out = info("").env("KIRSH_DRIVER", "epoll").run();
    assert_eq!(out.code, 1, "a communicator could not be created: {out:?}");
    assert!(entry(&out, "driver")[0].starts_with("none"), "{out:?}");
    let problems = entry(&out, "problems");
    assert!(problems.len() == 1 && problems[0].contains("KIRSH_DRIVER"), "said once: {out:?}");
}

#[test]
fn addresses_stand_in_order_and_those_left_out_say_why() {
    let facts = json(&info("--json").run());
    let addresses = facts["addresses"].as_array().unwrap();
    let is_left_out = |address: &&Value| !address["left_out"].is_null();
    let used = addresses.iter().position(|address| is_left_out(&address));
    assert!(addresses[used.unwrap_or(addresses.len())..].iter().all(|a| is_left_out(&a)));
    assert!(facts["published"].as_array().unwrap().iter().any(|ip| ip == "127.0.0.1"), "{facts}");

    let none = "0.0.0.0/32";
    let out = info("").env("KIRSH_IFACE", none).env("KIRSH_TOKEN", SECRET).run();
    let used = entry(&out, "addresses");
    assert!(used.iter().all(|line| line.starts_with("lo ")), "only loopback is left: {used:?}");
    let others = addresses.len() - used.len();
    if others > 0 {
        let left_out = entry(&out, "left out");
        assert_eq!(left_out.len(), others);
        assert!(left_out.iter().all(|line| line.ends_with(')')), "each says why: {left_out:?}");
    }

    let seen = info("").env("KIRSH_ADVERTISE", "203.0.113.9:77").env("KIRSH_TOKEN", SECRET).run();
    assert!(entry(&seen, "published")[0].starts_with("203.0.113.9:77"), "{seen:?}");
}

#[test]
fn it_names_who_said_which_rank_this_is_and_where_to_meet() {
    let place = "tcp://127.0.0.1:4711";
    let by_hand = [("RANK", "1"), ("WORLD_SIZE", "2"), ("KIRSH_RENDEZVOUS", place)];
    let set = |kirsh: Kirsh, (name, value): (&str, &str)| kirsh.env(name, value);
    let out = by_hand.into_iter().fold(info(""), set).run();
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (RANK and WORLD_SIZE)"]);
    assert_eq!(entry(&out, "rendezvous"), [format!("{place} (KIRSH_* variables)")]);

    for driver in ["uring", "poll"] {
        let kirsh = env!("CARGO_BIN_EXE_kirsh");
        let run = Kirsh::new(["run", "-n", "2", "--no-prefix", "--", kirsh, "info"]);
        let out = run.env("KIRSH_DRIVER", driver).env("OMP_NUM_THREADS", "1").run();
        assert_eq!(out.code, 0, "{out:?}");
        let text = out.stdout_lines().join("\n");
        for rank in ["rank 0 of 2 (KIRSH_* variables)", "rank 1 of 2 (KIRSH_* variables)"] {
            assert_eq!(text.matches(rank).count(), 1, "{text}");
        }
        assert_eq!(text.matches(&format!("KIRSH_DRIVER={driver} asks for it")).count(), 2);
        assert_eq!(text.matches("from KIRSH_TOKEN").count(), 2);
    }
}

#[test]
fn what_is_half_set_is_an_error_that_says_what_is_missing() {
    let out = info("").env("KIRSH_RANK", "1").run();
    assert_eq!(out.code, 1);
    let problems = entry(&out, "problems");
    assert!(problems.len() == 1 && problems[0].contains("KIRSH_WORLD_SIZE"), "{out:?}");

    let out = info("").env("RANK", "1").env("WORLD_SIZE", "2").run();
    assert_eq!(out.code, 1);
    assert!(entry(&out, "problems")[0].contains("KIRSH_RENDEZVOUS"), "{out:?}");
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (RANK and WORLD_SIZE)"]);
}

#[test]
fn the_token_shows_where_it_is_from_and_never_itself() {
    let path = std::env::temp_dir().join(format!("kirsh-info-{}.token", std::process::id()));
    fs::write(&path, SECRET).unwrap();
    let file = path.to_str().unwrap();
    let run = |mode: u32, arguments: &str, name: &str, value: &str| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let out = info(arguments).env(name, value).run();
        let everything = format!("{out:?}");
        assert!(!everything.contains(SECRET), "{arguments}, {name}");
        out
    };
    for arguments in ["", "--env", "--json", "--json --env"] {
        let out = run(0o600, arguments, "KIRSH_TOKEN", SECRET);
        assert_eq!(out.code, 0, "{out:?}");
        let out = run(0o600, arguments, "KIRSH_TOKEN_FILE", file);
        assert_eq!(out.code, 0, "{out:?}");
        // A malformed one may be a good one with a slip in it.
        let out = run(0o600, arguments, "KIRSH_TOKEN", &format!("{SECRET} "));
        assert_eq!(out.code, 1, "{out:?}");
    }
    let out = run(0o600, "", "KIRSH_TOKEN", SECRET);
    assert_eq!(entry(&out, "token"), ["from KIRSH_TOKEN"]);
    let out = run(0o600, "", "KIRSH_TOKEN_FILE", file);
    assert_eq!(entry(&out, "token"), [format!("from {file} (KIRSH_TOKEN_FILE)")]);
    let out = run(0o644, "", "KIRSH_TOKEN_FILE", file);
    assert_eq!(out.code, 1, "a secret that others can read: {out:?}");
    assert!(entry(&out, "problems")[0].contains("chmod 600"), "{out:?}");
    fs::remove_file(&path).unwrap();
}

#[test]
fn every_variable_is_listed_with_value_default_and_source() {
    let out = info("--env --json").env("KIRSH_TIMEOUT", "12.5").env("KIRSH_TOKEN", SECRET).run();
    let facts = json(&out);
    let listed = facts["variables"].as_array().unwrap();
    assert_eq!(listed.len(), settings::all().len());
    let of = |name: &str| listed.iter().find(|variable| variable["name"] == name).unwrap();
    let timeout = of("KIRSH_TIMEOUT");
    assert_eq!((&timeout["value"], &timeout["default"]), (&"12.5".into(), &"600".into()));
    assert_eq!(timeout["source"], "environment");
    let warn_after = of("KIRSH_WARN_AFTER");
    assert_eq!((&warn_after["value"], &warn_after["source"]), (&"30".into(), &"default".into()));
    let token = of("KIRSH_TOKEN");
    assert!(token["value"].is_null() && token["source"] == "environment", "{token}");

    let out = info("--env").env("KIRSH_TIMEOUT", "12.5").run();
    let lines = out.stdout_lines();
    assert!(lines.contains(&"KIRSH_TIMEOUT = 12.5 (set; default 600)".to_owned()), "{out:?}");
    for setting in settings::all() {
        assert!(lines.iter().any(|line| line.starts_with(setting.name)), "{}", setting.name);
        assert!(lines.contains(&format!("    {}", setting.meaning)), "{}", setting.name);
    }
    assert!(json(&info("--json").run()).get("variables").is_none(), "only where asked for");
}

#[test]
fn a_misspelt_variable_is_pointed_out() {
    let out = info("").env("KIRSH_TIMEOUTS", "5").run();
    assert_eq!(out.code, 0, "it may be somebody else's: {out:?}");
    assert!(entry(&out, "warnings")[0].contains("KIRSH_TIMEOUTS"), "{out:?}");
}

#[test]
fn the_launcher_that_was_found_is_shown() {
    let slurm = |size| {
        let variables =
            [("PROCID", "1"), ("JOB_ID", "7"), ("STEP_ID", "0"), ("STEP_NUM_TASKS", size)];
        let nodes = [("STEP_NUM_NODES", "2"), ("STEP_NODELIST", "n[01-02]")];
        let all = variables.into_iter().chain(nodes);
        all.fold(info(""), |info, (name, value)| info.env(&format!("SLURM_{name}"), value)).run()
    };
    let out = slurm("2");
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (Slurm)"]);
    assert_eq!(entry(&out, "rendezvous"), ["tcp://n01:20007 (Slurm)"]);
    assert_eq!(out.code, 0, "{out:?}");
    let out = slurm("1");
    assert_eq!(out.code, 1, "rank 1 of 1 cannot be: {out:?}");

    let torchrun = [("RANK", "1"), ("WORLD_SIZE", "2"), ("TORCHELASTIC_RUN_ID", "x")];
    let store = [("MASTER_ADDR", "localhost"), ("MASTER_PORT", "4000")];
    let all = torchrun.into_iter().chain(store);
    let out = all.fold(info(""), |info, (name, value)| info.env(name, value)).run();
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (torchrun)"]);
    let place = entry(&out, "rendezvous").join(" ");
    assert!(place.starts_with("torch's store at localhost:4000 (torchrun; for Python"), "{place}");
    assert_eq!(out.code, 0, "a program in Python would do: {out:?}");
}

#[test]
fn bare_pmi_is_shown_with_what_it_lacks() {
    let pmi = |info: Kirsh| info.env("PMI_RANK", "1").env("PMI_SIZE", "2");
    let out = pmi(info("")).run();
    assert_eq!(out.code, 1, "{out:?}");
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (PMI)"]);
    let problems = entry(&out, "problems").join(" ");
    assert!(problems.contains("PMI's variables hold no address"), "{problems}");
    assert!(problems.contains("KIRSH_RENDEZVOUS=tcp://host:port"), "{problems}");

    let place = "tcp://127.0.0.1:4711";
    let out = pmi(info("")).env("KIRSH_RENDEZVOUS", place).run();
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(entry(&out, "identity"), ["rank 1 of 2 (PMI)"]);
    assert_eq!(entry(&out, "rendezvous"), [format!("{place} (KIRSH_* variables)")]);
}
