//! How the ranks come together for an examination, and take turns.
//!
//! They meet as for a communicator, but without links. Then, in the same store and under
//! `doctor/`: `rank/<r>` is what a rank says of itself; `go/<turn>` lets the rank of a turn look,
//! `pair/<turn>` is what it found; `end` holds the exit code for all, and `left` counts who knows it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listen::{self, Answerer};
use super::probe::{self, Effort};
use super::record::{Examined, Pair, RankFacts};
use crate::cli::FAILED;
use crate::cli::info::host::{Host, Limit};
use crate::comm::driver_in_force;
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::identity::{Arguments, Identity, identity, job_id, process_env, rendezvous};
use crate::rendezvous::rails;
use crate::rendezvous::{
    Joiner, Opened, Store, Table, address, await_count, host_id, join, open, settings, token,
};

/// How long the rank of a turn may take before rank 0 goes on without it: longer than any
/// measurement lasts, however many of its waits run out.
const TURN_WITHIN: Duration = Duration::from_secs(90);

/// How long rank 0 stays for the others to read the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// How often those that wait for their turn look for the end.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The version of what ranks say to each other here.
const PROTOCOL: u16 = 1;

/// As good as for ever, and can be added to a clock.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One rank's part of an examination.
pub(super) struct Visit {
    me: Identity,
    facts: RankFacts,
    table: Table,
    /// None where this rank is alone.
    opened: Option<Opened>,
    verdict: i32,
    _answerer: Option<Answerer>,
}

/// One rank looking for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    from: u32,
    to: u32,
    measures: bool,
}

impl Visit {
    /// Meets the other ranks and begins to answer them. Blocks until all have come.
    ///
    /// # Errors
    /// As for creating a communicator, but for what its links would fail with.
    pub(super) fn begin() -> Result<Visit> {
        crate::log::install()?;
        let env = &process_env;
        let arguments = Arguments::default();
        let me = identity(&arguments, env)?;
        let (job, token) = (job_id(&me, env)?, token::find(env)?);
        let deadline = Instant::now() + settings::join_timeout(env)?.unwrap_or(FOR_EVER);
        let (listeners, addresses) = match me.world_size {
            1 => Default::default(),
            _ => listen::open(token.is_some())?,
        };
        let mut id = [0; 8];
        getrandom::fill(&mut id)
            .map_err(|cause| Error::system("drawing random numbers", &io::Error::other(cause)))?;
        let joiner = Joiner {
            rank: me.rank,
            world_size: me.world_size,
            job_id: job.clone(),
            protocol: PROTOCOL,
            generation: 0,
            process_id: u64::from_ne_bytes(id),
            host_id: host_id(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            pid: std::process::id(),
            host_name: address::host_name(),
            places: address::places(&addresses)?,
            addresses,
            // Only other doctors fit.
            table_hash: u64::from_le_bytes(*b"doctor 2"),
            handout: Vec::new(),
            token: token.clone(),
            warn_after: settings::warn_after(env)?,
        };
        let mut opened = None;
        let table = match rendezvous(&arguments, &me, env)? {
            None => Table::alone(&joiner)?,
            Some((place, _)) => {
                let served = settings::rendezvous_served(env)?;
                let met = open(&place, &me, &job, token.as_ref(), served, 0, deadline)?;
                let outcome = join(&*met.store, &joiner, deadline);
                if me.rank == 0 {
                    met.linger(&joiner, &outcome);
                }
                opened = Some(met);
                outcome?
            }
        };
        let answerer = match opened {
            None => None,
            Some(_) => {
                let secret = table.secret.clone();
                let started = Answerer::start(listeners, me.rank, joiner.process_id, secret);
                Some(started.map_err(|cause| Error::system("starting to answer", &cause))?)
            }
        };
        let facts = facts(&joiner)?;
        Ok(Visit { me, facts, table, opened, verdict: FAILED, _answerer: answerer })
    }

    /// Looks for the others when it is this rank's turn. Rank 0 gets what all have found, the others
    /// nothing. Blocks until the last turn is over.
    ///
    /// # Errors
    /// Where the store is lost, and where rank 0 falls silent.
    pub(super) fn examine(&mut self, effort: &Effort) -> Result<Option<Examined>> {
        let Some(opened) = &self.opened else {
            let ranks = vec![self.facts.clone()];
            return Ok(Some(Examined {
                kirsh: env!("CARGO_PKG_VERSION"),
                ranks,
                pairs: Vec::new(),
                rails: Vec::new(),
            }));
        };
        let store = Arc::clone(&opened.store);
        let hosts: Vec<u64> = self.table.ranks.iter().map(|member| member.host_id).collect();
        let turns = turns(&hosts);
        put(&*store, &format!("doctor/rank/{}", self.me.rank), &self.facts)?;
        match self.me.rank {
            0 => self.lead(&*store, &turns, effort).map(Some),
            _ => self.follow(&*store, &turns, effort).map(|()| None),
        }
    }

    /// The exit code that rank 0 gave out.
    pub(super) fn verdict(&self) -> i32 {
        self.verdict
    }

    /// Rank 0 gives the exit code to all and waits a little for them to have it.
    pub(super) fn end(&self, code: i32) {
        let Some(opened) = &self.opened else { return };
        // A store that is lost ends the others by itself.
        if opened.store.set("doctor/end", code.to_string().as_bytes()).is_ok() {
            let others = self.me.world_size - 1;
            await_count(&*opened.store, "doctor/left", others, LEAVE_WITHIN);
        }
    }

    fn lead(&self, store: &dyn Store, turns: &[Turn], effort: &Effort) -> Result<Examined> {
        let mut ranks = Vec::new();
        for member in &self.table.ranks {
            let key = format!("doctor/rank/{}", member.rank);
            let said = store.wait(&key, Instant::now() + TURN_WITHIN)?;
            ranks.push(said.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_else(
                || RankFacts {
                    rank: member.rank,
                    host: member.host_name.clone(),
                    why: "it has said nothing of itself".to_owned(),
                    ..RankFacts::default()
                },
            ));
        }
        let mut pairs = Vec::new();
        let mut silent = Vec::new();
        for (number, turn) in turns.iter().enumerate() {
            pairs.push(match turn.from {
                0 => self.look(turn, effort),
                from if silent.contains(&from) => unanswered(turn),
                from => {
                    store.set(&format!("doctor/go/{number}"), b"go")?;
                    let until = Instant::now() + TURN_WITHIN;
                    let found = store.wait(&format!("doctor/pair/{number}"), until)?;
                    let found = found.and_then(|value| serde_json::from_slice::<Pair>(&value).ok());
                    if found.is_none() {
                        silent.push(from);
                    }
                    found.unwrap_or_else(|| unanswered(turn))
                }
            });
        }
        let rails = rails::rails(&self.table.ranks).iter().map(ToString::to_string).collect();
        Ok(Examined { kirsh: env!("CARGO_PKG_VERSION"), ranks, pairs, rails })
    }

    fn follow(&mut self, store: &dyn Store, turns: &[Turn], effort: &Effort) -> Result<()> {
        // Rank 0 is never longer than this, whatever else is.
        let bound =
            TURN_WITHIN * u32::try_from(turns.len() + self.table.ranks.len()).unwrap_or(u32::MAX);
        let give_up = Instant::now() + bound.min(FOR_EVER);
        let mut mine = turns.iter().enumerate().filter(|(_, turn)| turn.from == self.me.rank);
        let mut next = mine.next();
        while Instant::now() < give_up {
            let soon = Instant::now() + LOOK_EVERY;
            let awaited = match next {
                Some((number, _)) => format!("doctor/go/{number}"),
                None => "doctor/end".to_owned(),
            };
            let came = store.wait(&awaited, soon)?;
            if let (Some(_), Some((number, turn))) = (&came, next) {
                put(store, &format!("doctor/pair/{number}"), &self.look(turn, effort))?;
                next = mine.next();
                continue;
            }
            if let Some(code) = store.get("doctor/end")? {
                let code = std::str::from_utf8(&code).ok().and_then(|code| code.parse().ok());
                self.verdict = code.unwrap_or(FAILED);
                // Rank 0 waits for nobody for long.
                let _ = store.add("doctor/left", 1);
                return Ok(());
            }
        }
        let text = "rank 0 gave no turn and no end for longer than all turns take";
        Err(Error::new(ErrorKind::Timeout, text))
    }

    fn look(&self, turn: &Turn, effort: &Effort) -> Pair {
        probe::look(&self.table, turn.from, turn.to, turn.measures.then_some(effort))
    }
}

fn unanswered(turn: &Turn) -> Pair {
    Pair {
        from: turn.from,
        to: turn.to,
        problem: Some(format!("rank {} did not say what it found", turn.from)),
        ..Pair::default()
    }
}

fn put(store: &dyn Store, key: &str, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_vec(value)
        .map_err(|cause| Error::new(ErrorKind::Internal, format!("no JSON: {cause}")))?;
    store.set(key, &text)
}

/// Who looks for whom, in order: everyone for everyone. Between each two hosts the first ranks
/// measure too, in both directions, and on each host the first two.
fn turns(hosts: &[u64]) -> Vec<Turn> {
    let first_of = |host: u64| hosts.iter().position(|other| *other == host);
    let second_of = |host: u64| {
        hosts.iter().enumerate().filter(|(_, other)| **other == host).map(|(rank, _)| rank).nth(1)
    };
    let mut turns = Vec::new();
    for (from, host) in hosts.iter().enumerate() {
        for (to, other) in hosts.iter().enumerate().filter(|(to, _)| *to != from) {
            let opens = first_of(*host) == Some(from);
            let measures = match host == other {
                true => opens && second_of(*host) == Some(to),
                false => opens && first_of(*other) == Some(to),
            };
            turns.push(Turn { from: from as u32, to: to as u32, measures });
        }
    }
    turns
}

fn facts(joiner: &Joiner) -> Result<RankFacts> {
    let host = Host::look();
    let filter = settings::interfaces(&process_env)?;
    let left_out = address::survey(&filter)?
        .into_iter()
        .filter_map(|seen| Some(format!("{} {} ({})", seen.interface, seen.ip, seen.left_out?)));
    let (driver, why, forced) = match driver_in_force(&process_env) {
        Ok(choice) => (choice.kind.name().to_owned(), choice.why, choice.forced),
        Err(error) => (String::new(), error.message().to_owned(), true),
    };
    Ok(RankFacts {
        rank: joiner.rank,
        host: host.name,
        host_id: host.id,
        pid: joiner.pid,
        driver,
        why,
        forced,
        kernel: host.kernel,
        addresses: joiner.addresses.iter().map(ToString::to_string).collect(),
        left_out: left_out.collect(),
        locked_memory_bytes: match host.locked_memory_bytes {
            Some(Limit::At(bytes)) => Some(bytes),
            Some(Limit::None) | None => None,
        },
        congestion_control: host.congestion_control,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_looks_for_everyone_and_few_measure() {
        let turns = turns(&[7, 7, 7, 8, 8, 9]);
        assert_eq!(turns.len(), 30);
        let measured: Vec<_> =
            turns.iter().filter(|turn| turn.measures).map(|turn| (turn.from, turn.to)).collect();
        let expected = [(0, 1), (0, 3), (0, 5), (3, 0), (3, 4), (3, 5), (5, 0), (5, 3)];
        assert_eq!(measured, expected);
        assert!(super::turns(&[7]).is_empty());
    }
}
