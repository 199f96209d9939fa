//! All ranks get the same table, or the same reason.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{PLENTY, Place, joiner, joiners, meet, soon, token};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{Joiner, Patience, Table, join, linger};

/// A deadline that is meant to pass, yet not before all threads of a test have started.
const SHORT: Duration = Duration::from_secs(2);

/// Asserts that every rank failed, in this way, with one text that has all of these parts.
fn all_failed(outcomes: &[Result<Table>], kind: ErrorKind, parts: &[&str]) {
    let first = outcomes[0].as_ref().expect_err("rank 0 must fail");
    for outcome in outcomes {
        let error = outcome.as_ref().expect_err("every rank must fail");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.message(), first.message());
        for part in parts {
            assert!(error.message().contains(part), "{part:?} is missing in: {error}");
        }
    }
}

#[test]
fn all_ranks_get_the_same_table_with_what_each_published() {
    for place in Place::both(None) {
        let ranks = joiners(5);
        let tables: Vec<Table> =
            meet(&place, &ranks, PLENTY).into_iter().map(Result::unwrap).collect();
        for table in &tables {
            assert_eq!(table, &tables[0]);
        }
        for (me, member) in ranks.iter().zip(&tables[0].ranks) {
            assert_eq!(member, &me.member());
        }
        assert_eq!(tables[0].handout, b"from 0");
        assert_eq!(tables[0].local(3), Some((3, 5)));
        assert_eq!(tables[0].secret.secret().len(), 64, "rank 0 draws a secret");
    }
}

#[test]
fn the_jobs_token_becomes_the_secret_and_does_not_travel() {
    let secret = token("a-token-of-the-job");
    for place in Place::both(Some(&secret)) {
        let mut ranks = joiners(3);
        for me in &mut ranks {
            me.token = Some(secret.clone());
            // Under a token hosts may differ and be reachable from outside.
            me.host_id = u64::from(me.rank);
            me.addresses = vec!["192.0.2.1:5".parse().unwrap()];
        }
        for table in meet(&place, &ranks, PLENTY) {
            let table = table.unwrap();
            assert_eq!(table.secret, secret);
            assert_eq!(table.local(2), Some((0, 1)));
        }
        let store = place.store(&ranks[0]).unwrap();
        for key in ["meta", "record/0", "record/1", "verdict"] {
            let value = store.get(&format!("kirsh/0/{key}")).unwrap().unwrap();
            let travels = value.windows(secret.secret().len()).any(|part| part == secret.secret());
            assert!(!travels, "{key} holds the token");
        }
    }
}

#[test]
fn generations_meet_one_after_the_other_in_one_store() {
    for place in Place::both(None) {
        let mut ids = Vec::new();
        for generation in 0..3 {
            let mut ranks = joiners(2);
            ranks.iter_mut().for_each(|me| me.generation = generation);
            for table in meet(&place, &ranks, PLENTY) {
                let table = table.unwrap();
                assert_eq!(u64::from(table.epoch), generation);
                ids.push(table.communicator_id);
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 3, "each world has an id of its own");
    }
}

/// One rank of four differs in some way; all fail alike and both sides are named.
fn one_differs(change: impl Fn(&mut Joiner), kind: ErrorKind, parts: &[&str]) {
    for place in Place::both(None) {
        let mut ranks = joiners(4);
        change(&mut ranks[2]);
        all_failed(&meet(&place, &ranks, PLENTY), kind, parts);
    }
}

#[test]
fn differing_world_sizes_fail_everywhere_with_both_named() {
    let parts = ["world size differs", "rank 2 (host here, pid 102)", "has 4", "has 3"];
    one_differs(|me| me.world_size = 3, ErrorKind::Mismatch, &parts);
}

#[test]
fn differing_protocol_versions_fail_everywhere_with_both_named() {
    let parts = ["protocol version differs", "pid 102) has 9", "has 1"];
    one_differs(|me| me.protocol = 9, ErrorKind::Mismatch, &parts[..1]);
    // Whether rank 2 came first decides on which side it stands.
    one_differs(|me| me.protocol = 9, ErrorKind::Mismatch, &["has 9", parts[2]]);
}

#[test]
fn differing_tables_of_choice_fail_everywhere_with_both_named() {
    let parts = ["table of algorithms differs", "pid 102", "0005", "00ff"];
    one_differs(|me| me.table_hash = 0xff, ErrorKind::Mismatch, &parts);
}

#[test]
fn a_rank_taken_twice_fails_everywhere_with_both_named() {
    for place in Place::both(None) {
        let mut ranks = joiners(4);
        ranks[2].rank = 1;
        let parts = ["rank 1 is taken twice", "pid 101", "pid 102"];
        all_failed(&meet(&place, &ranks, PLENTY), ErrorKind::Rendezvous, &parts);
    }
}

#[test]
fn a_rank_out_of_range_fails_everywhere() {
    let parts = ["rank 4 (host here, pid 102) is out of range: the world size is 4"];
    one_differs(|me| me.rank = 4, ErrorKind::Mismatch, &parts);
}

#[test]
fn without_a_token_an_address_beyond_the_host_fails_everywhere() {
    let parts = ["rank 2 (host here, pid 102)", "no token", "kirsh token"];
    let change = |me: &mut Joiner| me.addresses.push("192.0.2.1:5".parse().unwrap());
    one_differs(change, ErrorKind::Authentication, &parts);
}

#[test]
fn without_a_token_a_second_host_fails_everywhere() {
    let parts = ["pid 100", "pid 102", "different hosts", "no token"];
    one_differs(|me| me.host_id = 8, ErrorKind::Authentication, &parts);
}

#[test]
fn differing_job_ids_in_a_directory_fail_everywhere_with_both_named() {
    let mut ranks = joiners(3);
    ranks[1].job_id = "other".to_owned();
    let outcomes = meet(&Place::file(), &ranks, PLENTY);
    let parts = ["job id", "\"job\"", "\"other\"", "pid 101"];
    all_failed(&outcomes, ErrorKind::Authentication, &parts);
}

#[test]
fn differing_tokens_in_a_directory_fail_everywhere_with_both_named() {
    for other in [Some(token("another-secret-token")), None] {
        let mut ranks = joiners(3);
        ranks.iter_mut().for_each(|me| me.token = Some(token("the-token-of-the-job")));
        ranks[1].token = other;
        let outcomes = meet(&Place::file(), &ranks, PLENTY);
        all_failed(&outcomes, ErrorKind::Authentication, &["token", "differs", "pid 101"]);
    }
}

/// A rank that the server turns away fails by itself, and all who wait for it fail too.
fn turned_away(server_token: Option<&str>, change: impl Fn(&mut Joiner), parts: &[&str]) {
    let secret = server_token.map(token);
    let place = Place::tcp(secret.as_ref());
    let mut ranks = joiners(3);
    ranks.iter_mut().for_each(|me| me.token = secret.clone());
    change(&mut ranks[1]);
    let outcomes = meet(&place, &ranks, PLENTY);
    for outcome in &outcomes {
        let error = outcome.as_ref().expect_err("every rank must fail");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        for part in ["rank 1 (host", "127.0.0.1:"].iter().chain(parts) {
            assert!(error.message().contains(part), "{part:?} is missing in: {error}");
        }
    }
    assert_eq!(
        outcomes[0].as_ref().unwrap_err().message(),
        outcomes[2].as_ref().unwrap_err().message()
    );
}

#[test]
fn a_job_id_that_the_server_refuses_fails_everywhere_with_both_named() {
    turned_away(None, |me| me.job_id = "other".to_owned(), &["\"job\"", "\"other\""]);
}

#[test]
fn a_missing_or_needless_token_that_the_server_refuses_fails_everywhere() {
    turned_away(Some("the-token-of-the-job"), |me| me.token = None, &["has a token", "has none"]);
    let change = |me: &mut Joiner| me.token = Some(token("a-needless-token"));
    turned_away(None, change, &["has a token", "has none"]);
}

#[test]
fn a_wrong_token_fails_everywhere() {
    let place = Place::tcp(Some(&token("the-token-of-the-job")));
    let mut ranks = joiners(3);
    ranks.iter_mut().for_each(|me| me.token = Some(token("the-token-of-the-job")));
    ranks[1].token = Some(token("another-secret-token"));
    let outcomes = meet(&place, &ranks, PLENTY);
    for outcome in &outcomes {
        let error = outcome.as_ref().expect_err("every rank must fail");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(error.message().contains("rank 1 (host"), "{error}");
        assert!(error.message().contains("token"), "{error}");
    }
}

#[test]
fn a_stray_of_another_job_under_a_rank_that_is_there_harms_nobody() {
    let place = Place::tcp(None);
    let ranks = joiners(2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| join(&*place.store(&ranks[0])?, &ranks[0], soon()));
        let store = place.store(&ranks[1]).unwrap();
        assert!(store.wait("kirsh/0/record/0", soon()).unwrap().is_some());
        let mut stray = joiner(0, 2);
        stray.job_id = "other".to_owned();
        assert!(place.store(&stray).is_err());
        assert!(store.get("refused").unwrap().is_some());
        join(&*store, &ranks[1], soon()).unwrap();
        first.join().unwrap().unwrap();
    });
}

#[test]
fn the_deadline_names_the_ranks_that_did_not_come_on_every_rank() {
    for place in Place::both(None) {
        let mut ranks = joiners(5);
        ranks.remove(4);
        ranks.remove(2);
        let outcomes = meet(&place, &ranks, SHORT);
        let parts = ["ranks 2, 4 of 5 did not come", "KIRSH_JOIN_TIMEOUT"];
        all_failed(&outcomes, ErrorKind::Timeout, &parts);
    }
}

/// Keeps the messages of warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut Vec<String>);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push(format!("{value:?}"));
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_warning_names_the_late_ranks_before_the_deadline() {
    let warnings = Arc::new(Warnings::default());
    let place = Place::tcp(None);
    let mut ranks = joiners(4);
    ranks[0].warn_after = Some(Duration::ZERO);
    let store = place.store(&ranks[0]).unwrap();
    let late = std::thread::scope(|scope| {
        let others = scope.spawn(|| meet(&place, &ranks[1..3], PLENTY));
        for rank in 1..3 {
            store.wait(&format!("kirsh/0/record/{rank}"), soon()).unwrap().unwrap();
        }
        let first = tracing::subscriber::with_default(warnings.clone(), || {
            // Beyond one look at the store, after which it warns.
            join(&*store, &ranks[0], Instant::now() + SHORT)
        });
        others.join().unwrap();
        first
    });
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    let warnings = warnings.0.lock().unwrap();
    assert!(warnings[0].contains("rank 3 of 4 to join"), "{:?}", warnings);
}

#[test]
fn a_missing_rank_0_is_named_as_well() {
    for place in Place::both(None) {
        let outcomes = meet(&place, &joiners(3)[1..], SHORT);
        all_failed(&outcomes, ErrorKind::Timeout, &["rank 0 of 3 did not come"]);
    }
}

#[test]
fn whoever_comes_after_the_end_learns_how_it_ended() {
    for place in Place::both(None) {
        let ranks = joiners(3);
        let early = meet(&place, &ranks[..2], SHORT);
        all_failed(&early, ErrorKind::Timeout, &["rank 2"]);
        let late = meet(&place, &ranks[2..], PLENTY);
        assert_eq!(
            late[0].as_ref().unwrap_err().message(),
            early[0].as_ref().unwrap_err().message()
        );
    }
}

#[test]
fn a_second_process_under_a_rank_is_refused_also_after_the_world_has_formed() {
    for place in Place::both(None) {
        let ranks = joiners(2);
        meet(&place, &ranks, PLENTY).into_iter().for_each(|table| drop(table.unwrap()));
        let mut second = joiner(1, 2);
        (second.process_id, second.pid) = (77, 177);
        let error = join(&*place.store(&second).unwrap(), &second, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rendezvous);
        for part in ["rank 1 is taken twice", "pid 101", "pid 177"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}

#[test]
fn an_interrupted_rank_ends_the_meeting_for_all() {
    for place in Place::both(None) {
        let ranks = joiners(3);
        let interrupt = || Err(Error::new(ErrorKind::Interrupted, "Ctrl-C"));
        let outcomes: Vec<Result<Table>> = std::thread::scope(|scope| {
            let first = scope.spawn(|| join(&*place.store(&ranks[0])?, &ranks[0], soon()));
            let second = scope.spawn(|| {
                let patience = Patience::new(soon(), &interrupt);
                join(&*place.store(&ranks[1])?, &ranks[1], patience)
            });
            [first.join().unwrap(), second.join().unwrap()].into()
        });
        let parts = ["rank 1 (host here, pid 101) stopped joining: Ctrl-C"];
        all_failed(&outcomes, ErrorKind::Interrupted, &parts);
    }
}

#[test]
fn lingering_ends_when_all_have_read_and_else_at_its_bound() {
    for place in Place::both(None) {
        let ranks = joiners(2);
        let store = place.store(&ranks[0]).unwrap();
        assert!(!linger(&*store, 0, 2, Duration::from_millis(20)));
        meet(&place, &ranks, PLENTY).into_iter().for_each(|table| drop(table.unwrap()));
        let before = Instant::now();
        assert!(linger(&*store, 0, 2, PLENTY));
        assert!(before.elapsed() < PLENTY);
    }
}

#[test]
fn what_is_not_a_meetings_is_an_error_and_no_panic() {
    let place = Place::file();
    let me = joiner(1, 2);
    let store = place.store(&me).unwrap();
    store.add("kirsh/0/meta/turn", 1).unwrap();
    store.set("kirsh/0/meta", b"something else").unwrap();
    let error = join(&*store, &me, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.message().contains("kirsh/0/meta"), "{error}");
}
