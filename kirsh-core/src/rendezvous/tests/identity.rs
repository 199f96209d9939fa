//! Each group comes whole from one source, in the order of the sources.

use std::path::PathBuf;

use super::env;
use crate::error::ErrorKind;
use crate::rendezvous::identity::{Arguments, Rendezvous, Source, identity, rendezvous};

const LAUNCHER: Source = Source::Launcher("RANK and WORLD_SIZE");

fn given(rank: Option<u32>, world_size: Option<u32>) -> Arguments {
    Arguments { rank, world_size, ..Arguments::default() }
}

#[test]
fn the_first_source_that_says_anything_gives_the_whole_identity() {
    let kirsh = [("KIRSH_RANK", "2"), ("KIRSH_WORLD_SIZE", "5")];
    let launcher = [("RANK", "3"), ("WORLD_SIZE", "6"), ("LOCAL_RANK", "1")];
    let all = [&kirsh[..], &launcher].concat();
    let cases = [
        (given(Some(1), Some(4)), &all[..], (1, 4, Source::Arguments)),
        (given(None, None), &all, (2, 5, Source::Kirsh)),
        (given(None, None), &launcher, (3, 6, LAUNCHER)),
        (given(None, None), &[], (0, 1, Source::Alone)),
        // Empty counts as unset.
        (given(None, None), &[("KIRSH_RANK", ""), ("WORLD_SIZE", "")], (0, 1, Source::Alone)),
        // Neither port nor address of a launcher's own store says anything.
        (given(None, None), &[("MASTER_PORT", "1"), ("MASTER_ADDR", "h")], (0, 1, Source::Alone)),
    ];
    for (arguments, variables, expected) in cases {
        let found = identity(&arguments, &env(variables)).unwrap();
        assert_eq!((found.rank, found.world_size, found.source), expected);
    }
}

#[test]
fn local_rank_and_size_come_from_the_source_of_the_rank() {
    let launcher =
        [("RANK", "3"), ("WORLD_SIZE", "6"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")];
    let found = identity(&Arguments::default(), &env(&launcher)).unwrap();
    assert_eq!((found.local_rank, found.local_size), (Some(1), Some(2)));
    let kirsh = [&launcher[..], &[("KIRSH_RANK", "2"), ("KIRSH_WORLD_SIZE", "5")]].concat();
    let found = identity(&Arguments::default(), &env(&kirsh)).unwrap();
    assert_eq!((found.local_rank, found.local_size), (None, None));
    let own = [&kirsh[..], &[("KIRSH_LOCAL_RANK", "0"), ("KIRSH_LOCAL_SIZE", "3")]].concat();
    let found = identity(&Arguments::default(), &env(&own)).unwrap();
    assert_eq!((found.local_rank, found.local_size), (Some(0), Some(3)));
}

/// Arguments, variables, and what the error must say.
type Case<'a> = (Arguments, Vec<(&'a str, &'a str)>, [&'a str; 3]);

#[test]
fn half_an_answer_is_an_error_that_says_what_is_missing_and_where() {
    let full = [("RANK", "0"), ("WORLD_SIZE", "2")];
    let with = |extra| [&full[..], &[extra]].concat();
    let cases: [Case<'_>; 6] = [
        (given(Some(1), None), full.into(), ["the arguments", "rank = 1", "no world_size"]),
        (given(None, Some(4)), full.into(), ["the arguments", "world_size = 4", "no rank"]),
        (
            given(None, None),
            with(("KIRSH_RANK", "1")),
            ["the environment", "KIRSH_RANK = 1", "no KIRSH_WORLD_SIZE"],
        ),
        (
            given(None, None),
            with(("KIRSH_WORLD_SIZE", "3")),
            ["the environment", "KIRSH_WORLD_SIZE = 3", "no KIRSH_RANK"],
        ),
        (given(None, None), full[..1].into(), ["the environment", "RANK = 0", "no WORLD_SIZE"]),
        (given(None, None), full[1..].into(), ["the environment", "WORLD_SIZE = 2", "no RANK"]),
    ];
    for (arguments, variables, parts) in cases {
        let error = identity(&arguments, &env(&variables)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for part in parts {
            assert!(error.message().contains(part), "{part:?} is missing in: {error}");
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_errors_that_name_the_variable() {
    let cases = [
        (("RANK", "2"), ("WORLD_SIZE", "2")),
        (("RANK", "-1"), ("WORLD_SIZE", "2")),
        (("RANK", "one"), ("WORLD_SIZE", "2")),
        (("RANK", "0"), ("WORLD_SIZE", "0")),
        (("KIRSH_RANK", "0"), ("KIRSH_WORLD_SIZE", "0")),
        (("KIRSH_RANK", "x"), ("KIRSH_WORLD_SIZE", "2")),
        (("KIRSH_RANK", "7"), ("KIRSH_WORLD_SIZE", "7")),
        (("KIRSH_RANK", "0"), ("KIRSH_WORLD_SIZE", "65537")),
    ];
    for (rank, world_size) in cases {
        let error = identity(&Arguments::default(), &env(&[rank, world_size])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let named = [rank.0, world_size.0].iter().any(|name| error.message().contains(name));
        assert!(named, "{error}");
    }
    assert!(identity(&given(Some(4), Some(4)), &env(&[])).is_err());
}

#[test]
fn rank_world_size_and_kirsh_rendezvous_are_enough() {
    let by_hand =
        env(&[("RANK", "1"), ("WORLD_SIZE", "2"), ("KIRSH_RENDEZVOUS", "tcp://10.0.0.1:29400")]);
    let arguments = Arguments::default();
    let me = identity(&arguments, &by_hand).unwrap();
    let (place, source) = rendezvous(&arguments, &me, &by_hand).unwrap().unwrap();
    assert_eq!(place, Rendezvous::Tcp { host: "10.0.0.1".to_owned(), port: 29400 });
    assert_eq!(source, Source::Kirsh);
}

#[test]
fn the_rendezvous_is_a_group_of_its_own() {
    let variables = env(&[("KIRSH_RENDEZVOUS", "file:///shared/meet")]);
    let mut arguments = given(Some(0), Some(2));
    let me = identity(&arguments, &variables).unwrap();
    let (place, source) = rendezvous(&arguments, &me, &variables).unwrap().unwrap();
    assert_eq!((place, source), (Rendezvous::File(PathBuf::from("/shared/meet")), Source::Kirsh));
    arguments.rendezvous = Some("tcp://host:5".to_owned());
    let (_, source) = rendezvous(&arguments, &me, &variables).unwrap().unwrap();
    assert_eq!(source, Source::Arguments);
    arguments.has_store = true;
    let error = rendezvous(&arguments, &me, &variables).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    arguments.rendezvous = None;
    assert_eq!(rendezvous(&arguments, &me, &variables).unwrap(), None);
}

#[test]
fn several_ranks_without_a_rendezvous_are_told_what_to_set() {
    let arguments = given(Some(1), Some(2));
    let me = identity(&arguments, &env(&[])).unwrap();
    let error = rendezvous(&arguments, &me, &env(&[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("KIRSH_RENDEZVOUS=tcp://host:port"), "{error}");
    let alone = identity(&Arguments::default(), &env(&[])).unwrap();
    assert_eq!(rendezvous(&Arguments::default(), &alone, &env(&[])).unwrap(), None);
}

#[test]
fn rendezvous_texts_read_back_as_they_are_shown() {
    for text in ["tcp://host:1", "tcp://[fd00::2]:65535", "tcp://10.0.0.1:29400", "file:///a b/c"] {
        assert_eq!(Rendezvous::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn malformed_rendezvous_texts_are_errors_that_say_why() {
    let cases = [
        ("host:1", "no known kind"),
        ("http://host:1", "no known kind"),
        ("tcp://host", "names no port"),
        ("tcp://host:0", "no port from 1"),
        ("tcp://host:65536", "no port from 1"),
        ("tcp://:5", "names no host"),
        ("tcp://a/b:5", "names no host"),
        ("tcp://fd00::2:5", "outside brackets"),
        ("file://relative", "absolute"),
        ("file://", "absolute"),
    ];
    for (text, why) in cases {
        let error = Rendezvous::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(why), "{error}");
        assert!(error.message().contains(text), "{error}");
    }
}
