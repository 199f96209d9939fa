//! What becomes of everybody who relies on the progress thread when it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Progress, Request};
use crate::driver::thread::panic_text;
use crate::error::{Error, ErrorKind, Scope};

impl Progress {
    /// Runs to the end. Should it panic, or lose its way into the kernel, everybody who waits gets
    /// an error instead of silence.
    pub(super) fn run_or_fail(mut self) {
        let error = match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(Ok(())) => {
                // Who waits for the end may want the port and the descriptors again.
                let left = self.leaving.take();
                drop(self);
                if let Some((_, done)) = left {
                    let _ = done.send(());
                }
                return;
            }
            Ok(Err(error)) => {
                let text = format!("the progress thread had to give up: {}", error.message());
                Error::new(error.kind(), text)
            }
            Err(panic) => {
                let text = format!(
                    "the progress thread has failed, which is a defect of Kirsh: {}",
                    panic_text(&*panic)
                );
                Error::new(ErrorKind::Internal, text)
            }
        };
        let error = error.with_scope(Scope::Communicator).with_rank(self.facts.rank);
        tracing::error!(rank = self.facts.rank, "{error}");
        // Ends what is in flight and waits for it: the callers get their memory back below. With
        // the queue goes whatever was asked for, and with the links the peers' patience.
        let Progress { own, requests, facts, mut lanes, controls, listeners, .. } = self;
        drop((own, controls, listeners));
        facts.roll.fail(error.clone());
        for request in requests.try_iter() {
            if let Request::Register { lane, done } = request {
                lanes.insert(lane);
                let _ = done.send(());
            }
        }
        for tracked in lanes.iter() {
            tracked.lane.orphan(tracked.held, &error);
        }
    }
}
