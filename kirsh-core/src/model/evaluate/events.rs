//! What is still to happen in a walk, in the order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::model::network::Time;

/// What is to happen at some time.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A live step may go on.
    Wake { slot: u8 },
    /// The rank's processor is free for the next of the steps that were put off.
    Free,
    /// A frame's first byte is ready for the NIC that the ranks of its host share.
    Transmit { slot: u8 },
    /// A frame's first byte is at the receiver's NIC.
    Head { link: u32, frame: u32 },
    /// A frame is in the receiver's socket.
    Arrival { link: u32 },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) time: Time,
    /// Of two at one time the one that was foreseen first goes first.
    order: u64,
    pub(super) walker: u32,
    pub(super) what: What,
}

impl Event {
    /// One number, which is compared without a branch.
    const fn key(&self) -> u128 {
        (self.time as u128) << 64 | self.order as u128
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A frame on its way between two NICs.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) len: u64,
    /// Its last byte cannot be there before.
    pub(super) end: Time,
}

/// The frames on their way: beside the events, so that those are short.
#[derive(Default)]
pub(super) struct Frames {
    all: Vec<Frame>,
    free: Vec<u32>,
}

impl Frames {
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.free.clear();
    }

    pub(super) fn put(&mut self, frame: Frame) -> u32 {
        let Some(index) = self.free.pop() else {
            self.all.push(frame);
            return (self.all.len() - 1) as u32;
        };
        self.all[index as usize] = frame;
        index
    }

    pub(super) fn take(&mut self, index: u32) -> Frame {
        self.free.push(index);
        self.all[index as usize]
    }
}

/// The events foreseen.
#[derive(Default)]
pub(super) struct Events {
    all: BinaryHeap<Reverse<Event>>,
    /// The first event foreseen since the last one happened: often the next to happen.
    held: Option<Event>,
    order: u64,
}

impl Events {
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.held = None;
        self.order = 0;
    }

    pub(super) fn foresee(&mut self, time: Time, walker: u32, what: What) {
        self.order += 1;
        let event = Event { time, order: self.order, walker, what };
        if self.held.is_none() {
            self.held = Some(event);
        } else {
            self.all.push(Reverse(event));
        }
    }

    /// Takes the next event out: where one is held that is later, in exchange for it, so that the rest
    /// is put in order once.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Some(held) = self.held.take() else {
            return self.all.pop().map(|Reverse(event)| event);
        };
        match self.all.peek_mut() {
            Some(mut first) if first.0 < held => Some(std::mem::replace(&mut first.0, held)),
            _ => Some(held),
        }
    }

    /// Whether anything is to happen before a time.
    pub(super) fn is_any_before(&self, time: Time) -> bool {
        let first = self.all.peek().map(|Reverse(event)| event);
        first.into_iter().chain(&self.held).any(|event| event.time < time)
    }
}
