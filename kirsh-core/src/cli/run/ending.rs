//! What the supervision of this node's ranks has to do with the other nodes: a failure elsewhere
//! stops them, and the launcher ends as the whole run does.

use std::io;
use std::time::{Duration, Instant};

use super::others::{Others, Outcome};
use super::supervise::{TIMED_OUT, World, list};
use super::sys::{SignalName, Signals};

/// How long a launcher whose own ranks have failed waits to hear whose failure was the first.
const WORD_WITHIN: Duration = Duration::from_secs(5);

impl World<'_> {
    /// Stops the ranks here when the run has failed elsewhere.
    pub(super) fn listen(&mut self) {
        let Some(outcome) = self.others.and_then(Others::outcome) else { return };
        if let Outcome::Failed { code, what, .. } = &outcome
            && !self.told_to_stop()
        {
            let running = self.children.running();
            let stopping = match running.len() {
                0 => String::new(),
                _ => format!("; stopping {}{}", list(&running), self.options.on_node),
            };
            self.pump.say(format_args!("{what}{stopping}"));
            self.code = Some(*code);
            self.last_word = Some(format!("the run failed elsewhere: {what}"));
            self.tell(libc::SIGTERM);
        }
        self.ended = Some(outcome);
    }

    /// When nothing of this node's ranks is left: waits for how the whole run ends, and takes that
    /// for this launcher's end. A second failure, such as of ranks that lost their peer, gives way
    /// to the first.
    pub(super) fn hear_of_the_end(&mut self, signals: &mut Signals) -> io::Result<()> {
        let Some(others) = self.others else { return Ok(()) };
        let failed = self.code;
        // Every way to a code has been reported where it was found.
        if failed.is_none() {
            others.report_success();
        }
        let give_up = failed.map(|_| Instant::now() + WORD_WITHIN);
        while self.ended.is_none() {
            let now = Instant::now();
            if give_up.is_some_and(|at| at <= now) {
                return Ok(());
            }
            let timeout = if failed.is_none() { self.deadline } else { give_up };
            if failed.is_none() && self.deadline.is_some_and(|at| at <= now) {
                self.code = Some(TIMED_OUT);
                let text = "the time of --timeout is over, and other nodes still run";
                self.pump.say(text);
                others.report_failure_after_all(TIMED_OUT, text);
                return Ok(());
            }
            let timeout = timeout.map(|at| at.saturating_duration_since(now));
            signals.wait(Some(others.bell()), timeout)?;
            while let Some(signal) = signals.next() {
                if !matches!(signal, libc::SIGCHLD | libc::SIGTSTP) {
                    let text = format!("node{} got {}", self.options.on_node, SignalName(signal));
                    self.interrupted = true;
                    self.code = Some(128 + signal);
                    others.report_failure_after_all(128 + signal, &text);
                    return Ok(());
                }
            }
            self.ended = others.outcome();
        }
        if let Some(Outcome::Failed { node, code, what }) = &self.ended
            && (failed.is_none() || !others.is_own(*node))
        {
            // A signal that the user sent here stays this launcher's own end.
            if !self.interrupted {
                self.code = Some(*code);
            }
            self.last_word = Some(format!("the run failed elsewhere: {what}"));
        }
        Ok(())
    }
}
