//! A program that has a `tracing` subscriber of its own gets the messages there, and nowhere else.

use std::sync::atomic::{AtomicU32, Ordering};

use kirsh_core::{Communicator, Config};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static HEARD: AtomicU32 = AtomicU32::new(0);
static SUNK: AtomicU32 = AtomicU32::new(0);

struct Own;

impl Subscriber for Own {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn the_programs_own_subscriber_stays() {
    tracing::subscriber::set_global_default(Own).unwrap();
    kirsh_core::log::set_sink(|_, _| {
        SUNK.fetch_add(1, Ordering::Relaxed);
    });
    kirsh_core::log::set_level(5);
    let alone = Config { rank: Some(0), world_size: Some(1), ..Config::default() };
    Communicator::create(&alone).unwrap();
    tracing::warn!(target: "kirsh_core::test", "heard by its owner");
    assert!(HEARD.load(Ordering::Relaxed) >= 1);
    assert_eq!(SUNK.load(Ordering::Relaxed), 0);
}
