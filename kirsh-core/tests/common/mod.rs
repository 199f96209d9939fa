//! Groups of real processes for tests: each rank is this test program again, told by variables who
//! it is and what to do.
//!
//! A rank says what happens to it in lines on stderr that begin with `@`: a word, the time on the
//! clock that all processes of a host share, and a text. Its test reads them when the group has
//! ended. A group has a deadline, and whatever becomes of it, nothing of it is left behind.
#![allow(dead_code, unused_imports)]

mod group;
mod port;
mod way;

use std::fmt::Display;
use std::time::Duration;

use kirsh_core::driver::clock::now_ns;
use kirsh_core::{Communicator, Config, Error, Timeout};

pub(crate) use self::group::{Event, Failure, Group, Outcome};
pub(crate) use self::port::free_port;
pub(crate) use self::way::{Way, for_each_driver, for_each_way, for_each_way_at_once};

/// Names what a rank is to do; unset in the test program itself.
pub(crate) const SCENARIO: &str = "KIRSH_TEST_SCENARIO";
/// A further word for the scenario.
pub(crate) const DETAIL: &str = "KIRSH_TEST_DETAIL";

/// How long an operation of a rank may take.
pub(crate) const OPERATION: Duration = Duration::from_secs(10);

/// What this process is to do, if it is a rank. From here on it has no io_uring, if the test says so.
pub(crate) fn scenario() -> Option<(String, String)> {
    let scenario = std::env::var(SCENARIO).ok()?;
    if way::is_denied() {
        way::deny_io_uring(libc::EPERM);
    }
    Some((scenario, std::env::var(DETAIL).unwrap_or_default()))
}

pub(crate) fn config() -> Config {
    Config { timeout: Timeout::After(OPERATION), ..Config::default() }
}

/// The communicator of this rank's world, over the driver that the test wants.
pub(crate) fn comm() -> Communicator {
    let comm = Communicator::create(&config()).expect("a communicator");
    if way::is_denied() {
        assert_eq!(comm.driver(), "poll", "io_uring is denied");
    } else if let Ok(driver) = std::env::var("KIRSH_DRIVER") {
        assert_eq!(comm.driver(), driver);
    }
    comm
}

/// Says that something happens now.
pub(crate) fn said(word: &str, text: impl Display) {
    let text = text.to_string().replace('\n', " ");
    eprintln!("@{word} {} {text}", now_ns());
}

/// Says that a call has failed.
pub(crate) fn failed(error: &Error) {
    let peer = error.peer().map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    said("failed", format_args!("{}|{peer}|{:?}|{error}", error.kind().name(), error.scope()));
}

/// Numbers that depend on nothing but their seed (SplitMix64, Steele and others, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
