//! How a lane ends before its time: everything is taken back from the kernel, and all are told.

use std::os::fd::AsFd;

use super::Core;
use crate::driver::choose::AnyIo;
use crate::driver::io::Io;
use crate::driver::lane::Lane;
use crate::driver::socket;
use crate::error::Error;
use crate::session::Action;

impl Core {
    /// Ends everything at once, for want of anybody who could drive, and has the others told. Nothing
    /// is in flight, and the thread that drove may have left anything half done.
    pub(crate) fn collapse(&mut self, cause: &Error, lane: &Lane) {
        self.gate.clear();
        self.links.clear();
        self.draining = false;
        self.session.abort(cause.clone());
        self.session.handle_drained();
        while let Some(action) = self.session.poll() {
            match action {
                Action::Finish { sequence, result } => {
                    self.deliver(sequence, result, lane);
                }
                Action::Control { to, message } => lane.tell(to, message),
                Action::Abort { error } => lane.failed(error),
                _ => {}
            }
        }
        for job in self.jobs.drain(..) {
            if let Some(completion) = job.completion {
                completion.set(Err(cause.clone()));
            }
        }
        if let Some(done) = self.closing.take() {
            done.set(Ok(()));
        }
    }

    pub(super) fn begin_drain(&mut self, io: &mut AnyIo, error: &Error) {
        tracing::debug!(rank = self.session.settings().rank, "communicator over: {error}");
        self.draining = true;
        self.gate.clear();
        for link in self.links.iter() {
            if link.in_flight() != 0 {
                io.cancel(link.descriptor());
            }
            // Gone already is as good.
            let _ = socket::shutdown_both(link.fd.as_fd());
            link.stop_lending();
        }
        self.end_drain();
    }

    /// Once the kernel holds nothing any more, closes the links and lets the buffers go.
    pub(super) fn end_drain(&mut self) {
        if self.in_flight() == 0 {
            self.links.clear();
            self.draining = false;
            self.session.handle_drained();
        }
    }
}
