//! What the launchers of a run on several nodes tell each other while it runs: that they are there,
//! and how it ends.
//!
//! `run/outcome` in their store is written once: by whoever first sees a failure, or by the last one
//! whose ranks have ended well. A thread watches it, and raises `run/beat/<node>` once a second;
//! node 0's watches the beats of the others. A launcher that cannot reach the store has lost node
//! 0, which serves it.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::nodes::Met;
use crate::cli::FAILED;
use crate::error::Result;
use crate::rendezvous::{Store, await_count};

/// How often a launcher says that it is there, and the longest that it waits for the outcome at
/// once.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How long node 0 serves on after the end, for launchers that have not heard of it. One that was
/// lost will not.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// How long to wait for what another launcher is about to write.
const COURTESY: Duration = Duration::from_secs(2);

const OUTCOME: &str = "run/outcome";
const HEARD: &str = "run/heard";

/// How the whole run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every rank on every node ended with 0.
    Done,
    Failed {
        node: u32,
        code: i32,
        what: String,
    },
}

impl Outcome {
    fn encode(&self) -> Vec<u8> {
        match self {
            Outcome::Done => b"done".to_vec(),
            Outcome::Failed { node, code, what } => format!("{node} {code} {what}").into_bytes(),
        }
    }

    fn decode(value: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(value);
        let failed = || {
            let mut words = text.splitn(3, ' ');
            let node = words.next()?.parse().ok()?;
            // A code of 0 would call a failure a success.
            let code = words.next()?.parse().ok().filter(|code| *code != 0)?;
            Some(Outcome::Failed { node, code, what: words.next()?.to_owned() })
        };
        match (&*text, failed()) {
            ("done", _) => Outcome::Done,
            (_, Some(failed)) => failed,
            (_, None) => Outcome::Failed {
                node: 0,
                code: FAILED,
                what: "the run ended in a way that no launcher wrote".to_owned(),
            },
        }
    }
}

/// The launchers of the other nodes.
pub(super) struct Others {
    store: Arc<dyn Store>,
    node: u32,
    nodes: u32,
    /// Whether this launcher has said how it went here.
    reported: AtomicBool,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    news: Mutex<Receiver<Outcome>>,
    bell: PipeReader,
}

impl Others {
    /// Begins to watch. `liveness`: after how long without a beat a node counts as lost.
    pub(super) fn watch(met: &Met, liveness: Option<Duration>) -> io::Result<Others> {
        let (sender, news) = channel();
        let (bell, doorbell) = io::pipe()?;
        let stop = Arc::new(AtomicBool::new(false));
        let watcher = Watcher {
            store: Arc::clone(&met.store),
            node: met.place.node,
            seen: vec![(Vec::new(), Instant::now()); met.place.nodes as usize],
            liveness,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("kirsh-nodes".into()).spawn(move || {
            if let Some(outcome) = watcher.run() {
                let _ = sender.send(outcome);
                ring(doorbell);
            }
        })?;
        Ok(Others {
            store: Arc::clone(&met.store),
            node: met.place.node,
            nodes: met.place.nodes,
            reported: AtomicBool::new(false),
            stop,
            thread: Some(thread),
            news: Mutex::new(news),
            bell,
        })
    }

    /// Readable once there is news, and from then on.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// How the run has ended, once that is known; told once.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let outcome = self.news.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok()?;
        // From here on nothing that this launcher could say counts.
        self.reported.store(true, Ordering::Release);
        Some(outcome)
    }

    /// Says that the run fails here with this code and why. What stands in the end is what was said
    /// first, and comes as the outcome. Does not block.
    pub(super) fn report_failure(&self, code: i32, what: &str) {
        if self.reported.swap(true, Ordering::AcqRel) {
            return;
        }
        let outcome = Outcome::Failed { node: self.node, code, what: what.to_owned() };
        let store = Arc::clone(&self.store);
        in_the_background(move || publish(&*store, &outcome));
    }

    /// The same, where success had been reported and was waiting for that of the others.
    pub(super) fn report_failure_after_all(&self, code: i32, what: &str) {
        self.reported.store(false, Ordering::Release);
        self.report_failure(code, what);
    }

    /// Whether a node is this launcher's.
    pub(super) fn is_own(&self, node: u32) -> bool {
        node == self.node
    }

    /// Says that every rank here has ended with 0. Does not block.
    pub(super) fn report_success(&self) {
        if self.reported.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, nodes) = (Arc::clone(&self.store), i64::from(self.nodes));
        in_the_background(move || {
            // A store that is gone is noticed by the watcher.
            if store.add("run/done", 1).is_ok_and(|done| done >= nodes) {
                publish(&*store, &Outcome::Done);
            }
        });
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        // On a way out that nobody foresaw the others must not wait for this node.
        if !self.reported.swap(true, Ordering::AcqRel) {
            let what = format!("the launcher of node {} gave up", self.node);
            publish(&*self.store, &Outcome::Failed { node: self.node, code: FAILED, what });
        }
        self.stop.store(true, Ordering::Release);
        if self.node == 0 {
            await_count(&*self.store, HEARD, self.nodes, HEARD_WITHIN);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Publishes how the run ended unless somebody has. That the store is gone is noticed elsewhere.
fn publish(store: &dyn Store, outcome: &Outcome) {
    let is_first = match store.add("run/outcome/turn", 1) {
        Ok(turn) => turn == 1,
        Err(_) => return,
    };
    // Whoever was first may have died before it could say what.
    if is_first || matches!(store.wait(OUTCOME, Instant::now() + COURTESY), Ok(None)) {
        let _ = store.set(OUTCOME, &outcome.encode());
    }
}

fn in_the_background(work: impl FnOnce() + Send + 'static) {
    // Without a thread the others learn of it by this node's silence.
    let _ = std::thread::Builder::new().name("kirsh-nodes-word".into()).spawn(work);
}

fn ring(mut doorbell: PipeWriter) {
    let _ = doorbell.write_all(&[0]);
}

struct Watcher {
    store: Arc<dyn Store>,
    node: u32,
    /// Each node's last beat and when it was new.
    seen: Vec<(Vec<u8>, Instant)>,
    liveness: Option<Duration>,
    stop: Arc<AtomicBool>,
}

impl Watcher {
    /// Watches until the end is known; `None` where it is told to stop before.
    fn run(mut self) -> Option<Outcome> {
        loop {
            match self.look() {
                Ok(Some(outcome)) => {
                    let _ = self.store.add(HEARD, 1);
                    return Some(outcome);
                }
                Ok(None) if self.stop.load(Ordering::Acquire) => return None,
                Ok(None) => {}
                Err(error) => {
                    let what = format!(
                        "node {} has lost node 0, whose launcher serves the rendezvous: {}",
                        self.node,
                        error.message()
                    );
                    return Some(Outcome::Failed { node: 0, code: FAILED, what });
                }
            }
        }
    }

    fn look(&mut self) -> Result<Option<Outcome>> {
        self.store.add(&beat_of(self.node), 1)?;
        if let Some(value) = self.store.wait(OUTCOME, Instant::now() + BEAT_EVERY)? {
            return Ok(Some(Outcome::decode(&value)));
        }
        if self.node == 0
            && let Some(liveness) = self.liveness
        {
            self.look_for_the_silent(liveness)?;
        }
        Ok(None)
    }

    fn look_for_the_silent(&mut self, liveness: Duration) -> Result<()> {
        for (node, seen) in (0..).zip(&mut self.seen).skip(1) {
            let beat = self.store.get(&beat_of(node))?.unwrap_or_default();
            if beat != seen.0 {
                *seen = (beat, Instant::now());
            } else if seen.1.elapsed() >= liveness {
                let what = format!(
                    "the launcher of node {node} has not been heard of for {:.0} s \
                     (KIRSH_LIVENESS_TIMEOUT)",
                    seen.1.elapsed().as_secs_f64()
                );
                publish(&*self.store, &Outcome::Failed { node, code: FAILED, what });
            }
        }
        Ok(())
    }
}

fn beat_of(node: u32) -> String {
    format!("run/beat/{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_back_and_nothing_else_is_a_success() {
        let failed = Outcome::Failed { node: 1, code: 7, what: "rank 3 exited".to_owned() };
        for outcome in [Outcome::Done, failed] {
            assert_eq!(Outcome::decode(&outcome.encode()), outcome);
        }
        for strange in ["", "done ", "1 0 all is well", "1", "x y z"] {
            let read = Outcome::decode(strange.as_bytes());
            assert!(matches!(read, Outcome::Failed { code: FAILED, .. }), "{strange:?}: {read:?}");
        }
    }
}
