//! What any store promises, asked of both that are built in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use super::{Place, Scratch, joiner, soon};
use crate::error::ErrorKind;
use crate::limits;
use crate::rendezvous::{FileStore, Prefix, Store};

#[test]
fn values_are_seen_whole_by_everyone_and_may_be_written_over() {
    for place in Place::both(None) {
        let (one, other) =
            (place.store(&joiner(0, 2)).unwrap(), place.store(&joiner(1, 2)).unwrap());
        assert_eq!(one.get("key").unwrap(), None);
        for value in [&b"first"[..], b"", b"second", &[7; 300_000]] {
            one.set("key", value).unwrap();
            assert_eq!(other.get("key").unwrap().as_deref(), Some(value));
            assert_eq!(other.wait("key", Instant::now()).unwrap().as_deref(), Some(value));
        }
    }
}

#[test]
fn keys_of_any_text_and_length_up_to_the_limit_stay_apart() {
    for place in Place::both(None) {
        let store = place.store(&joiner(0, 1)).unwrap();
        let long = "ä".repeat(limits::STORE_KEY_MAX / 2 - 1);
        let keys = [
            "a/b",
            "a%2Fb",
            "a b",
            ".",
            "..",
            "../up",
            "k.a",
            "lock",
            "\0",
            "A",
            "a",
            &format!("{long}x"),
            &format!("{long}y"),
        ];
        for key in keys {
            store.set(key, key.as_bytes()).unwrap();
        }
        for key in keys {
            assert_eq!(store.get(key).unwrap().as_deref(), Some(key.as_bytes()), "{key:?}");
        }
    }
}

#[test]
fn keys_and_values_beyond_the_limits_are_refused() {
    for place in Place::both(None) {
        let store = place.store(&joiner(0, 1)).unwrap();
        let long = "k".repeat(limits::STORE_KEY_MAX + 1);
        for key in ["", long.as_str()] {
            assert_eq!(store.set(key, b"").unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert_eq!(store.get(key).unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert_eq!(store.add(key, 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        let large = vec![0; limits::STORE_VALUE_MAX + 1];
        assert_eq!(store.set("k", &large).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn counters_lose_no_addition_and_read_as_decimal_text() {
    for place in Place::both(None) {
        std::thread::scope(|scope| {
            for rank in 0..4 {
                let place = &place;
                scope.spawn(move || {
                    let store = place.store(&joiner(rank, 4)).unwrap();
                    for _ in 0..25 {
                        store.add("count", 2).unwrap();
                        store.add("count", -1).unwrap();
                    }
                });
            }
        });
        let store = place.store(&joiner(0, 1)).unwrap();
        assert_eq!(store.get("count").unwrap().unwrap(), b"100");
        assert_eq!(store.add("count", -100).unwrap(), 0);
        assert_eq!(store.add("count", i64::MAX).unwrap(), i64::MAX);
        assert!(store.add("count", 1).is_err(), "an overflow is an error");
        store.set("text", b"word").unwrap();
        assert!(store.add("text", 1).is_err(), "a text is no counter");
        assert_eq!(store.get("text").unwrap().unwrap(), b"word");
    }
}

#[test]
fn a_wait_ends_with_the_value_or_at_its_deadline() {
    for place in Place::both(None) {
        let store = place.store(&joiner(0, 1)).unwrap();
        assert_eq!(store.wait("never", Instant::now()).unwrap(), None);
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(store.wait("never", deadline).unwrap(), None);
        assert!(Instant::now() >= deadline);
        std::thread::scope(|scope| {
            // One store, two threads: who waits keeps out nobody.
            let waiting = scope.spawn(|| store.wait("later", soon()).unwrap());
            store.set("later", b"here").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), b"here");
        });
    }
}

#[test]
fn every_waiter_of_a_key_is_woken() {
    for place in Place::both(None) {
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..8)
                .map(|rank| {
                    let place = &place;
                    scope.spawn(move || {
                        let store = place.store(&joiner(rank, 8)).unwrap();
                        store.add("waiting", 1).unwrap();
                        // Each wakes the next, so that keys change while others are being answered.
                        let value = store.wait(&format!("turn/{rank}"), soon()).unwrap();
                        store.set(&format!("turn/{}", rank + 1), b"go").unwrap();
                        value
                    })
                })
                .collect();
            let store = place.store(&joiner(9, 10)).unwrap();
            store.set("turn/0", b"go").unwrap();
            assert_eq!(store.wait("turn/8", soon()).unwrap().unwrap(), b"go");
            for thread in waiting {
                assert_eq!(thread.join().unwrap().unwrap(), b"go");
            }
        });
    }
}

#[test]
fn a_prefix_keeps_two_users_of_one_store_apart() {
    let place = Place::tcp(None);
    let store = place.store(&joiner(0, 1)).unwrap();
    let (one, other) = (Prefix::new(&store, "one/"), Prefix::new(&store, "other/"));
    one.set("key", b"1").unwrap();
    assert_eq!(other.get("key").unwrap(), None);
    assert_eq!(other.add("key", 5).unwrap(), 5);
    assert_eq!(store.get("one/key").unwrap().unwrap(), b"1");
    assert_eq!(one.wait("key", soon()).unwrap().unwrap(), b"1");
}

#[test]
fn the_directory_and_its_files_are_for_their_owner_alone() {
    let scratch = Scratch::new();
    let store = FileStore::open(&scratch.0).unwrap();
    store.set("key", b"value").unwrap();
    store.add("count", 1).unwrap();
    assert_eq!(fs::metadata(&scratch.0).unwrap().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&scratch.0).unwrap().flatten().collect();
    assert_eq!(files.len(), 3, "two keys and the lock, no temporary file");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused_with_what_to_do() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o770)).unwrap();
    let error = FileStore::open(&scratch.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("chmod 700"), "{error}");
}

#[test]
fn root_takes_a_users_directory_but_not_where_anybody_may_have_made_it() {
    if crate::rendezvous::sys::effective_uid() != 0 {
        return eprintln!("skipped: only root can give a directory away");
    }
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let inside = scratch.0.join("meet");
    fs::create_dir(&inside).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&inside, Some(65534), None).unwrap();
    assert!(FileStore::open(&inside).is_ok());
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o1777)).unwrap();
    let error = FileStore::open(&inside).map(drop).unwrap_err();
    assert!(error.message().contains("belongs to user 65534"), "{error}");
}

#[test]
fn a_path_that_is_no_directory_or_has_no_parent_is_an_error() {
    let scratch = Scratch::new();
    assert!(FileStore::open(&scratch.0.join("deeper")).is_err());
    fs::write(&scratch.0, b"").unwrap();
    let error = FileStore::open(&scratch.0).unwrap_err();
    assert!(error.message().contains("not a directory"), "{error}");
}
