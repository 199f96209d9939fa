//! Further channels of a communicator: each a lane of its own, with a thread that drives it.
//!
//! The communicator's lane is its first channel. What ends one channel ends all: they are a
//! [`Family`], which keeps the first cause and tells it to the others.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::Receiver;
use sha2::{Digest, Sha256};

use super::choose::Choice;
use super::completion::Completion;
use super::doorbell::Doorbell;
use super::fork;
use super::io::Wait;
use super::lane::{Key, Lane, closed as communicator_closed};
use super::mail::Mail;
use super::thread::{ThreadIo, panic_text};
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::limits::CHANNELS_MAX;

/// What lies before the rest in the hash that names a channel. P-58
const ID_PREFIX: &[u8] = b"kirsh channel 1";

/// How long closing waits for a channel's thread, which has nothing left to do.
const GONE_LIMIT: Duration = Duration::from_secs(1);

/// What names a further channel of this communicator on the wire. P-58
pub(crate) fn key_of((communicator, epoch): Key, channel: u16) -> Key {
    let mut hash = Sha256::new_with_prefix(ID_PREFIX);
    hash.update(communicator.to_le_bytes());
    hash.update(epoch.to_le_bytes());
    hash.update(channel.to_le_bytes());
    let first_8 = *hash.finalize().first_chunk().expect("a hash of 32 bytes");
    (u64::from_le_bytes(first_8), epoch)
}

/// The same of every further channel that a communicator can have.
pub(crate) fn keys_of(first: Key) -> impl Iterator<Item = Key> {
    (1..CHANNELS_MAX).map(move |channel| key_of(first, channel))
}

/// The lanes of one communicator.
#[derive(Default)]
pub(crate) struct Family {
    lanes: Mutex<Vec<Weak<Lane>>>,
    /// What ended the first of them that has failed.
    first_cause: OnceLock<Error>,
}

impl Family {
    /// Takes a lane in. Where another has failed already, it hears of that.
    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        self.lanes().push(Arc::downgrade(lane));
        if let Some(cause) = self.first_cause.get() {
            lane.post(Mail::ChannelFailed(cause.clone()));
        }
    }

    /// A lane has failed: the others fail likewise, unless they have been told.
    pub(crate) fn failed(&self, failing: &Lane, cause: &Error) {
        if self.first_cause.set(cause.clone()).is_err() {
            return;
        }
        let lanes: Vec<Arc<Lane>> = self.lanes().iter().filter_map(Weak::upgrade).collect();
        for lane in lanes.iter().filter(|lane| lane.number != failing.number) {
            lane.post(Mail::ChannelFailed(cause.clone()));
        }
    }

    /// What ended the communicator, if anything has.
    pub(crate) fn first_cause(&self) -> Option<&Error> {
        self.first_cause.get()
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Weak<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes a lane a further channel, and not a communicator's first.
pub(crate) struct Further {
    /// From 1 on.
    pub(crate) number: u16,
    /// The communicator that it is a channel of.
    pub(crate) first: Key,
    pub(crate) family: Arc<Family>,
    /// Wakes the thread that drives it.
    pub(crate) bell: Arc<Doorbell>,
}

/// A thread that waits for the lane that it is to drive.
pub(crate) struct Driver {
    pub(crate) bell: Arc<Doorbell>,
    lane: crossbeam_channel::Sender<Arc<Lane>>,
    closed: Arc<AtomicBool>,
    gone: Receiver<()>,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has none left, or nothing to drive with.
    pub(crate) fn start(name: String, driver: Arc<Choice>) -> Result<Driver> {
        let (born, ready) = crossbeam_channel::bounded(1);
        let (lane, given) = crossbeam_channel::bounded::<Arc<Lane>>(1);
        let (going, gone) = crossbeam_channel::bounded::<()>(0);
        let closed = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&closed);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                fork::block_all_signals_in_this_thread();
                // Its end shows that this thread has ended.
                let _going = going;
                let own = match ThreadIo::new(&driver) {
                    Ok(own) => own,
                    Err(error) => return drop(born.send(Err(error))),
                };
                let _ = born.send(Ok(Arc::clone(&own.bell)));
                if let Ok(lane) = given.recv() {
                    drive_or_fail(&lane, own, &closing);
                }
            })
            .map_err(|cause| Error::system("cannot start the thread of a channel", &cause))?;
        let bell = ready.recv().map_err(|_| {
            Error::new(ErrorKind::Internal, "the thread of a channel ended at its start")
        })??;
        Ok(Driver { bell, lane, closed, gone })
    }

    /// The channel, now that there is a lane to drive.
    pub(crate) fn on(self, lane: Arc<Lane>) -> Channel {
        // A thread that is gone has failed to start.
        let _ = self.lane.send(Arc::clone(&lane));
        Channel { lane, driver: self }
    }
}

/// A further channel.
pub(crate) struct Channel {
    pub(crate) lane: Arc<Lane>,
    driver: Driver,
}

impl Channel {
    /// Lets the thread panic.
    #[cfg(test)]
    pub(crate) fn break_driver(&self) {
        self.lane.post(Mail::Panic);
    }

    /// Ends the thread, once the lane has been closed.
    pub(crate) fn end(&self) {
        self.driver.closed.store(true, Ordering::Release);
        self.driver.bell.ring();
        let _ = self.driver.gone.recv_timeout(GONE_LIMIT);
    }
}

impl Drop for Channel {
    /// Lets the thread go where nobody has ended it.
    fn drop(&mut self) {
        self.driver.closed.store(true, Ordering::Release);
        self.driver.bell.ring();
    }
}

/// Drives the lane to its end. Should this thread panic, or lose its way into the kernel, the
/// communicator fails.
fn drive_or_fail(lane: &Lane, mut own: ThreadIo, closed: &AtomicBool) {
    let held = Cell::new(false);
    let driven = catch_unwind(AssertUnwindSafe(|| drive(lane, &mut own, closed, &held)));
    let text = match driven {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("had to give up: {}", error.message()),
        Err(panic) => {
            format!("has failed, which is a defect of Kirsh: {}", panic_text(&*panic))
        }
    };
    let text = format!("the thread of channel {} {text}", lane.channel);
    let error = Error::new(ErrorKind::Internal, text)
        .with_scope(Scope::Communicator)
        .with_rank(lane.settings.rank);
    tracing::error!(rank = lane.settings.rank, "{error}");
    // Ends what is in flight and waits for it, before callers get their memory back.
    drop(own);
    lane.orphan(held.get(), &error);
}

fn drive(lane: &Lane, own: &mut ThreadIo, closed: &AtomicBool, held: &Cell<bool>) -> Result<()> {
    loop {
        lane.heed();
        if lane.take(&own.bell) {
            held.set(true);
            lane.drive_until_idle(own)?;
            held.set(false);
        }
        if closed.load(Ordering::Acquire) {
            return Ok(());
        }
        own.wait(Wait { until_ns: u64::MAX, spin_ns: 0 }, |_, _| {})?;
    }
}

/// The further channels that a communicator has made so far.
#[derive(Default)]
pub(crate) struct Channels {
    made: [OnceLock<Channel>; CHANNELS_MAX as usize - 1],
    /// Taken by who makes one. `true`: no more are made.
    closed: Mutex<bool>,
    /// Completions of calls that have ended, for the next.
    spare: Mutex<Vec<Arc<Completion>>>,
}

impl Channels {
    /// Sees that there are so many, made by `make` of their numbers, which count from 1.
    ///
    /// # Errors
    /// Where one cannot be made, or the communicator has been closed meanwhile.
    pub(crate) fn have(&self, count: u32, make: impl Fn(u16) -> Result<Channel>) -> Result<()> {
        let made = &self.made[..count as usize];
        if made.last().is_none_or(|last| last.get().is_some()) {
            return Ok(());
        }
        let closed = self.closed();
        if *closed {
            return Err(communicator_closed());
        }
        for (slot, number) in made.iter().zip(1..) {
            if slot.get().is_none() {
                let _ = slot.set(make(number)?);
            }
        }
        Ok(())
    }

    /// From here on no more are made, so those that are there are all.
    pub(crate) fn close(&self) {
        *self.closed() = true;
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of a channel that has been made.
    pub(crate) fn of(&self, number: usize) -> &Lane {
        match self.made[number - 1].get() {
            Some(channel) => &channel.lane,
            None => unreachable!("a call is cut once its channels are there"),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.made.iter().filter_map(OnceLock::get)
    }

    /// A completion of so many parts, to be given back.
    pub(super) fn borrow(&self, parts: u32) -> Arc<Completion> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let completion = spare.unwrap_or_default();
        completion.expect(parts);
        completion
    }

    pub(super) fn give_back(&self, completion: Arc<Completion>) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(completion);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P-58
    #[test]
    fn the_number_of_a_channel_is_the_one_that_the_protocol_says() {
        // printf 'kirsh channel 1' and the numbers, little-endian, through sha256sum.
        assert_eq!(key_of((0x0102_0304_0506_0708, 9), 2), (0xc7e4_1812_2764_bbff, 9));
    }

    #[test]
    fn once_closed_no_channel_is_made_and_a_call_hears_why() {
        let channels = Channels::default();
        channels.close();
        let error = channels.have(1, |_| unreachable!("none is made")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(channels.have(0, |_| unreachable!("none is asked for")).is_ok());
    }
}
