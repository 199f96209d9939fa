//! How the launchers of several nodes agree on one world, before any of them starts a rank.
//!
//! They meet at a store that node 0's launcher serves, which the ranks use after them. There, under
//! `run/`: `meta` is what the first comer was told; `claim/<node>` counts who takes a node rank;
//! `node/<node>` is the card of each; `verdict` is written once, by node 0 when all cards are there
//! or by whoever finds a reason to fail, and everyone takes it as it is; `read` counts who has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::environment::free_port;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{self, WORLD_SIZE_MAX};
use crate::rendezvous::address::host_name;
use crate::rendezvous::identity::process_env;
use crate::rendezvous::open::EVERY_GENERATION;
use crate::rendezvous::token::{self, Token};
use crate::rendezvous::{
    Identity, Opened, Patience, Rendezvous, Source, Store, await_count, open, settings,
};

/// How long a wait lasts before a launcher looks whether the meeting has failed elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long to wait for what another launcher is about to write.
const COURTESY: Duration = Duration::from_secs(2);

/// As good as for ever, and can be added to a clock.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The reserved key under which a store records whom it turned away.
const REFUSED: &str = "refused";

/// What one launcher is told of the run.
pub(super) struct Terms {
    pub(super) nodes: u32,
    pub(super) node: u32,
    /// Ranks to start here.
    pub(super) ranks: u32,
    pub(super) rendezvous: Rendezvous,
    pub(super) job_id: Option<String>,
}

/// Which ranks of the world this launcher starts.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) node: u32,
    pub(super) nodes: u32,
    pub(super) first_rank: u32,
    pub(super) ranks: u32,
    pub(super) world_size: u32,
    /// For a store that the program may serve itself, on node 0.
    pub(super) master: (String, u16),
}

/// A meeting that has come to an agreement. The store lives as long as this.
pub(super) struct Met {
    pub(super) place: Place,
    pub(super) store: Arc<dyn Store>,
    pub(super) job_id: String,
    pub(super) token: Option<Token>,
    /// Held for its server, on node 0.
    pub(super) _opened: Opened,
}

/// Meets the launchers of the other nodes. Blocks until all have come, the join timeout is over, or
/// somebody has found that they do not fit together.
///
/// # Errors
/// As for joining ranks, with nodes in their place; the same text on every node that has met.
pub(super) fn meet(terms: &Terms, interrupt: &dyn Fn() -> Result<()>) -> Result<Met> {
    let job_id = match &terms.job_id {
        Some(job_id) => job_id.clone(),
        None => settings::job_id(&process_env)?,
    };
    let token = token::find(&process_env)?;
    let started = Instant::now();
    let deadline = started + settings::join_timeout(&process_env)?.unwrap_or(FOR_EVER);
    let opened = open(
        &terms.rendezvous,
        &identity(terms),
        &job_id,
        token.as_ref(),
        false,
        EVERY_GENERATION,
        Patience::new(deadline, interrupt),
    )
    .map_err(|error| at_the_door(terms, &error))?;
    let warn_after = settings::warn_after(&process_env)?.unwrap_or(FOR_EVER);
    let meeting =
        Meeting { store: &*opened.store, terms, interrupt, started, deadline, warn_after };
    let outcome = meeting.attend();
    // Who serves stays until all who have come know how it ended.
    let _ = opened.store.add("run/read", 1);
    if outcome.is_err() && opened.server.is_some() {
        let bound = Duration::from_secs(limits::LINGER_SECONDS);
        await_count(&*opened.store, "run/read", terms.nodes, bound);
    }
    let place = outcome?;
    Ok(Met { place, store: Arc::clone(&opened.store), job_id, token, _opened: opened })
}

/// A launcher as the store knows its clients.
fn identity(terms: &Terms) -> Identity {
    Identity {
        rank: terms.node,
        world_size: terms.nodes,
        local_rank: None,
        local_size: None,
        source: Source::Arguments,
    }
}

/// What to say where not even the store could be reached.
fn at_the_door(terms: &Terms, error: &Error) -> Error {
    let (node, nodes) = (terms.node, terms.nodes);
    let hint = match (error.kind(), node) {
        (ErrorKind::Rendezvous, 0) => {
            "; node 0 serves the rendezvous, so --rendezvous has to name an address of its host"
        }
        (ErrorKind::Rendezvous, _) => {
            "; node 0 serves the rendezvous: `kirsh run --node-rank 0` has to run on that host \
             (KIRSH_JOIN_TIMEOUT sets how long to wait for it)"
        }
        _ => "",
    };
    Error::new(error.kind(), format!("node {node} of {nodes}: {}{hint}", error.message()))
}

/// What a launcher says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Card {
    node: u32,
    nodes: u32,
    ranks: u32,
    pid: u32,
    host: String,
}

impl Card {
    fn who(&self) -> String {
        format!("node {} (host {}, pid {})", self.node, self.host, self.pid)
    }

    fn encode(&self) -> Vec<u8> {
        let Card { node, nodes, ranks, pid, host } = self;
        format!("{node} {nodes} {ranks} {pid} {host}").into_bytes()
    }

    fn decode(value: &[u8]) -> Option<Card> {
        let mut words = std::str::from_utf8(value).ok()?.splitn(5, ' ');
        let mut number = || words.next()?.parse().ok();
        let (node, nodes, ranks, pid) = (number()?, number()?, number()?, number()?);
        let host: String = words.next()?.chars().take(limits::HOST_NAME_MAX).collect();
        Some(Card { node, nodes, ranks, pid, host })
    }
}

struct Meeting<'a> {
    store: &'a dyn Store,
    terms: &'a Terms,
    interrupt: &'a dyn Fn() -> Result<()>,
    started: Instant,
    deadline: Instant,
    warn_after: Duration,
}

impl Meeting<'_> {
    fn attend(&self) -> Result<Place> {
        let me = self.card();
        if self.store.add("run/meta/turn", 1)? == 1 {
            self.store.set("run/meta", &me.encode())?;
        } else {
            let first = self.card_of(&self.await_value("run/meta", 0)?)?;
            if first.nodes != me.nodes {
                let text = format!(
                    "the nodes were told different numbers of nodes: {} has --nnodes {}, and {} \
                     has --nnodes {}",
                    me.who(),
                    me.nodes,
                    first.who(),
                    first.nodes
                );
                return self.fail(Error::new(ErrorKind::Mismatch, text));
            }
        }
        let (node, mine) = (me.node, format!("run/node/{}", me.node));
        if self.store.add(&format!("run/claim/{node}"), 1)? != 1 {
            let other = self.store.wait(&mine, Instant::now() + COURTESY)?;
            let other = other.and_then(|value| Card::decode(&value));
            let other = other.map_or("a launcher that has not said who it is".into(), |c| c.who());
            let text = format!(
                "node rank {node} is taken twice: by {other} and by {}; each launcher needs a \
                 --node-rank of its own",
                me.who()
            );
            return self.fail(Error::new(ErrorKind::Rendezvous, text));
        }
        self.store.set(&mine, &me.encode())?;
        if node == 0 {
            let agreed = self.collect()?;
            match self.settle(&agreed)? {
                None => self.place(&agreed),
                Some(standing) => self.place(&standing),
            }
        } else {
            self.place(&self.await_value("run/verdict", 0)?)
        }
    }

    /// What this launcher says of itself.
    fn card(&self) -> Card {
        let Terms { node, nodes, ranks, .. } = *self.terms;
        Card { node, nodes, ranks, pid: std::process::id(), host: host_name() }
    }

    fn card_of(&self, value: &[u8]) -> Result<Card> {
        Card::decode(value).ok_or_else(|| self.strange())
    }

    /// Node 0 waits for the cards of all and says who starts how many ranks.
    fn collect(&self) -> Result<Vec<u8>> {
        let mut ranks = Vec::new();
        for node in 0..self.terms.nodes {
            let value = self.await_value(&format!("run/node/{node}"), node)?;
            ranks.push(self.card_of(&value)?.ranks);
        }
        let world: u64 = ranks.iter().map(|ranks| u64::from(*ranks)).sum();
        if world > u64::from(WORLD_SIZE_MAX) {
            let text = format!("the nodes start {world} ranks, and a world has {WORLD_SIZE_MAX}");
            return self.fail(Error::new(ErrorKind::Configuration, text));
        }
        let port = free_port().map_err(|cause| Error::system("looking for a free port", &cause))?;
        let ranks: Vec<String> = ranks.iter().map(u32::to_string).collect();
        Ok(format!("ok {port} {}", ranks.join(",")).into_bytes())
    }

    /// This launcher's place, as a verdict has it.
    fn place(&self, verdict: &[u8]) -> Result<Place> {
        let text = std::str::from_utf8(verdict).map_err(|_| self.strange())?;
        if let Some(failed) = text.strip_prefix("failed ") {
            return Err(failure(failed).ok_or_else(|| self.strange())?);
        }
        self.read_place(text).ok_or_else(|| self.strange())
    }

    fn read_place(&self, text: &str) -> Option<Place> {
        let (port, ranks) = text.strip_prefix("ok ")?.split_once(' ')?;
        let ranks: Option<Vec<u32>> = ranks.split(',').map(|ranks| ranks.parse().ok()).collect();
        let ranks = ranks.filter(|ranks| ranks.len() == self.terms.nodes as usize)?;
        let world: u64 = ranks.iter().map(|ranks| u64::from(*ranks)).sum();
        let node = self.terms.node as usize;
        let Rendezvous::Tcp { host, .. } = &self.terms.rendezvous else { return None };
        Some(Place {
            node: self.terms.node,
            nodes: self.terms.nodes,
            first_rank: ranks[..node].iter().sum(),
            ranks: ranks[node],
            world_size: u32::try_from(world).ok().filter(|world| *world <= WORLD_SIZE_MAX)?,
            master: (host.clone(), port.parse().ok()?),
        })
    }

    /// Waits for a value, looking now and then whether the meeting has failed elsewhere.
    /// `awaited` is the node that writes it.
    fn await_value(&self, key: &str, awaited: u32) -> Result<Vec<u8>> {
        let mut warn_at = self.started + self.warn_after;
        loop {
            let look_at = self.deadline.min(Instant::now() + LOOK_EVERY);
            if let Some(value) = self.store.wait(key, look_at)? {
                return Ok(value);
            }
            if key != "run/verdict"
                && let Some(verdict) = self.store.get("run/verdict")?
            {
                self.place(&verdict)?;
            }
            if let Err(error) = (self.interrupt)() {
                let text = format!("{} stopped: {}", self.card().who(), error.message());
                return self.fail(Error::new(error.kind(), text));
            }
            if let Some(value) = self.store.get(REFUSED)? {
                let text = String::from_utf8_lossy(&value).into_owned();
                let text = format!("a launcher (named by its node rank) was turned away: {text}");
                return self.fail(Error::new(ErrorKind::Authentication, text));
            }
            let now = Instant::now();
            if now >= self.deadline {
                return self.fail(Error::new(ErrorKind::Timeout, self.late(awaited)?));
            }
            if now >= warn_at {
                warn_at = now + self.warn_after;
                eprintln!("kirsh run: {}", self.late(awaited)?);
            }
        }
    }

    /// Who has not come.
    fn late(&self, awaited: u32) -> Result<String> {
        let mut missing = Vec::new();
        for node in 0..self.terms.nodes {
            if self.store.get(&format!("run/node/{node}"))?.is_none() {
                missing.push(node.to_string());
            }
        }
        if missing.is_empty() {
            missing.push(awaited.to_string());
        }
        let noun = if missing.len() == 1 { "node" } else { "nodes" };
        Ok(format!(
            "{noun} {} of {} did not come within {:.1} s (KIRSH_JOIN_TIMEOUT; met at {}; told by \
             {})",
            missing.join(", "),
            self.terms.nodes,
            self.started.elapsed().as_secs_f64(),
            self.terms.rendezvous,
            self.card().who()
        ))
    }

    /// Tells every launcher why the run cannot start, and returns what they were told.
    fn fail<T>(&self, error: Error) -> Result<T> {
        let text = format!("failed {} {}", error.kind() as u8, error.message());
        match self.settle(text.as_bytes()) {
            // Somebody was quicker; or the others have started without this one.
            Ok(Some(standing)) => Err(self.place(&standing).err().unwrap_or(error)),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Publishes a verdict unless there is one already, which is then returned.
    fn settle(&self, verdict: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.store.add("run/verdict/turn", 1)? == 1 {
            return self.store.set("run/verdict", verdict).map(|()| None);
        }
        let standing = self.store.wait("run/verdict", Instant::now() + COURTESY)?;
        standing.map(Some).ok_or_else(|| self.strange())
    }

    fn strange(&self) -> Error {
        let text = format!("{} holds something that no launcher wrote", self.store.describe());
        Error::new(ErrorKind::Protocol, text)
    }
}

/// The error in a verdict.
fn failure(text: &str) -> Option<Error> {
    let (kind, text) = text.split_once(' ')?;
    Some(Error::new(ErrorKind::from_u8(kind.parse().ok()?)?, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_reads_back_whatever_the_host_is_called() {
        for host in ["a", "", "a host of two  words"] {
            let card = Card { node: 1, nodes: 2, ranks: 3, pid: 4, host: host.to_owned() };
            assert_eq!(Card::decode(&card.encode()), Some(card));
        }
        for wrong in ["", "1 2 3", "1 2 3 4", "1 2 x 4 host", "-1 2 3 4 host"] {
            assert_eq!(Card::decode(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
