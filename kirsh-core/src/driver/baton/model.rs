//! The hand-over under every order in which threads can meet, by loom: `make test-loom`.
//!
//! Mail is a number, a bell is loom's own, and a thread that would sleep for ever is a deadlock
//! that loom reports. Three broken hand-overs show that it would.

use std::sync::Arc;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use super::{Baton, Bell, HELD, Posted};

impl Bell for Notify {
    fn ring(&self) {
        self.notify();
    }
}

struct Lane {
    baton: Baton<Notify>,
    /// Letters in the mailbox.
    mail: AtomicU32,
    /// Letters read.
    read: AtomicU32,
    holders: AtomicU32,
}

impl Lane {
    fn new() -> Arc<Self> {
        Arc::new(Lane {
            baton: Baton::new(),
            mail: AtomicU32::new(0),
            read: AtomicU32::new(0),
            holders: AtomicU32::new(0),
        })
    }

    fn take(&self, bell: &Arc<Notify>) -> bool {
        let taken = self.baton.try_take(bell);
        if taken {
            self.enter();
        }
        taken
    }

    fn enter(&self) {
        assert_eq!(self.holders.fetch_add(1, Ordering::AcqRel), 0, "two hold the baton");
    }

    /// What the holder does when it looks.
    fn look(&self) {
        if self.baton.take_mark() {
            self.read_mail();
        }
    }

    fn read_mail(&self) {
        self.read.fetch_add(self.mail.swap(0, Ordering::AcqRel), Ordering::AcqRel);
    }

    fn has_read(&self, letters: u32) -> bool {
        self.read.load(Ordering::Acquire) >= letters
    }

    /// Drives until so many letters have been read, asleep whenever there is nothing to do.
    fn drive_until(&self, bell: &Notify, letters: u32) {
        loop {
            self.look();
            if self.has_read(letters) {
                return;
            }
            bell.wait();
        }
    }

    /// Lets go, and looks again as long as it may not.
    fn let_go(&self) {
        loop {
            self.look();
            self.holders.fetch_sub(1, Ordering::AcqRel);
            if self.baton.release() {
                return;
            }
            self.enter();
        }
    }

    /// Puts a letter in. Where nobody holds the baton, does what the progress thread would.
    fn post(&self, bell: &Arc<Notify>) {
        self.mail.fetch_add(1, Ordering::AcqRel);
        if self.baton.post() == Posted::Unheld && self.take(bell) {
            self.let_go();
        }
    }
}

fn bell() -> Arc<Notify> {
    Arc::new(Notify::new())
}

#[test]
fn no_post_is_lost_between_a_holder_that_lets_go_and_one_that_posts() {
    loom::model(|| {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let caller = thread::spawn(move || {
            if other.take(&bell()) {
                other.let_go();
            }
        });
        lane.post(&bell());
        caller.join().unwrap();
        assert_eq!(lane.read.load(Ordering::Acquire), 1);
    });
}

#[test]
fn no_post_is_lost_and_nobody_holds_twice_where_three_meet() {
    let mut model = loom::model::Builder::new();
    // Enough for every known mistake, and for an end within the minute.
    model.preemption_bound = Some(3);
    model.check(|| {
        let lane = Lane::new();
        let threads = [0, 1].map(|_| {
            let lane = Arc::clone(&lane);
            thread::spawn(move || lane.post(&bell()))
        });
        if lane.take(&bell()) {
            lane.let_go();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(lane.read.load(Ordering::Acquire), 2);
    });
}

#[test]
fn a_holder_that_sleeps_is_woken_by_every_post() {
    loom::model(|| {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let poster = thread::spawn(move || {
            for _ in 0..2 {
                other.mail.fetch_add(1, Ordering::AcqRel);
                // Nobody holds the baton yet: the holder looks before it first sleeps.
                other.baton.post();
            }
        });
        let own = bell();
        assert!(lane.take(&own));
        lane.drive_until(&own, 2);
        lane.let_go();
        poster.join().unwrap();
        assert!(lane.has_read(2));
    });
}

#[test]
fn a_bell_left_by_the_last_holder_does_not_keep_the_next_asleep() {
    loom::model(|| {
        let lane = Lane::new();
        assert!(lane.take(&bell()));
        lane.let_go();
        let other = Arc::clone(&lane);
        let poster = thread::spawn(move || {
            other.mail.fetch_add(1, Ordering::AcqRel);
            other.baton.post();
        });
        let own = bell();
        assert!(lane.take(&own));
        lane.drive_until(&own, 1);
        lane.let_go();
        poster.join().unwrap();
    });
}

/// A channel's thread, and one that posts three letters to it, of which the second ends what the first one
/// begins. The thread heeds that it was called before it takes the baton, and in every turn that
/// it drives where `in_every_turn`.
fn a_channel(in_every_turn: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let lane = Lane::new();
        let wanted = Arc::new(AtomicBool::new(false));
        let own = bell();
        let poster = thread::spawn({
            let (lane, wanted, own) = (Arc::clone(&lane), Arc::clone(&wanted), Arc::clone(&own));
            move || {
                for _ in 0..3 {
                    lane.mail.fetch_add(1, Ordering::AcqRel);
                    let unheld = lane.baton.post() == Posted::Unheld;
                    if unheld && !wanted.swap(true, Ordering::AcqRel) {
                        own.ring();
                    }
                }
            }
        });
        let heed = || wanted.swap(false, Ordering::AcqRel);
        loop {
            heed();
            assert!(lane.take(&own));
            loop {
                if in_every_turn {
                    heed();
                }
                lane.look();
                if lane.read.load(Ordering::Acquire) == 1 {
                    own.wait();
                    continue;
                }
                lane.holders.fetch_sub(1, Ordering::AcqRel);
                if lane.baton.release() {
                    break;
                }
                lane.enter();
            }
            if lane.has_read(3) {
                break;
            }
            own.wait();
        }
        poster.join().unwrap();
    });
}

#[test]
fn a_channels_thread_hears_every_call() {
    a_channel(true);
}

/// The bell of a call may be heard while the thread drives already, and the call remain unheeded: the next
/// one then rings no more.
#[test]
#[should_panic = "deadlock"]
fn heeding_only_before_the_baton_is_taken_is_found() {
    a_channel(false);
}

/// A holder that looks at the mark before it says where its bell is may sleep through a post.
#[test]
#[should_panic = "deadlock"]
fn looking_before_the_bell_is_out_is_found() {
    loom::model(|| {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let poster = thread::spawn(move || {
            other.mail.fetch_add(1, Ordering::AcqRel);
            other.baton.post();
        });
        let own = bell();
        assert_eq!(lane.baton.state.fetch_or(HELD, Ordering::AcqRel) & HELD, 0);
        lane.look();
        *lane.baton.bell.lock().unwrap() = Some(Arc::clone(&own));
        if !lane.has_read(1) {
            own.wait();
            lane.look();
        }
        poster.join().unwrap();
    });
}

/// Letting go over a mark loses the post that left it.
#[test]
#[should_panic = "left: 0"]
fn letting_go_over_a_mark_is_found() {
    loom::model(|| {
        let lane = Lane::new();
        let other = Arc::clone(&lane);
        let caller = thread::spawn(move || {
            if other.take(&bell()) {
                other.look();
                other.holders.fetch_sub(1, Ordering::AcqRel);
                other.baton.state.store(0, Ordering::Release);
            }
        });
        lane.post(&bell());
        caller.join().unwrap();
        assert_eq!(lane.read.load(Ordering::Acquire), 1);
    });
}
