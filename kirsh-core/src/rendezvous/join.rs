//! How ranks that share a store become a world: all of them get the same table, or all of them the
//! same reason why not.
//!
//! Under `kirsh/<generation>/` in the store:
//! - `meta`: what the first comer says of the world; whoever comes later compares;
//! - `claim/<rank>`: a counter, so that a rank taken twice is noticed by the second;
//! - `record/<rank>`: who the rank is and where it can be reached;
//! - `verdict`: written once, by rank 0 when all records are there, or by whoever finds a reason to
//!   fail; everyone waits for it and takes it as it is;
//! - `read`: counts the ranks that have the verdict, so that who serves the store knows when to go.
//!
//! In a store that was handed in, `kirsh/made/` counts the generations themselves (`comm/create.rs`).

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::agree;
use super::patience::Patience;
use super::published::{
    Meta, RECORD_LABEL, Seal, VERDICT_LABEL, Verdict, decode_record, encode_record,
};
use super::store::{Prefix, Store};
use super::table::{Joiner, Member, Table};
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::types::Rank;

/// How long a wait lasts before a rank looks whether the meeting has failed elsewhere. Short enough
/// that people see an error at once, long enough that hundreds of ranks do not load the store.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long to wait for what another rank is about to write and needs no third one for.
const COURTESY: Duration = Duration::from_secs(2);

/// Ranks that a message names one by one.
const NAMED_MAX: usize = 16;

/// The reserved key of [`Store`] under which a server records whom it turned away.
pub(super) const REFUSED: &str = "refused";

/// Meets all other ranks of the world in the store and returns the table, equal on every rank.
///
/// Collective: every rank calls it, once for each generation. Blocks the calling thread until all
/// have come, the patience (a deadline will do) is at its end, or somebody has found that the ranks do not fit together;
/// then every rank that waits gets the same text.
///
/// # Errors
/// - `Mismatch`: world size, version or table of choice differ, or a rank is out of range;
/// - `Authentication`: job id or token differ, or a store turned a rank away;
/// - `Rendezvous`: a rank was taken twice, or the store failed;
/// - `Timeout`: the deadline passed; the text names the ranks that have not come;
/// - whatever the interrupt of `patience` returned, on every rank.
pub fn join<'p>(
    store: &dyn Store,
    me: &Joiner,
    patience: impl Into<Patience<'p>>,
) -> Result<Table> {
    let keys = Prefix::new(store, prefix(me.generation));
    let seal = Seal::new(me);
    let meeting = Meeting {
        store,
        keys,
        seal,
        me,
        started: Instant::now(),
        warn_at: Cell::new(me.warn_after.map(|after| Instant::now() + after)),
        patience: patience.into(),
        // What was refused before an earlier generation met is none of this one's business.
        refused_before: if me.generation > 0 { store.get(REFUSED)? } else { None },
    };
    let outcome = meeting.attend();
    // Also after a failure: it has been read, which is all that counts here. Where the store itself
    // is what failed there is nobody left to tell.
    if !outcome.as_ref().is_err_and(is_lost) {
        let _ = meeting.keys.add("read", 1);
    }
    outcome.map_err(|error| error.with_rank(me.rank))
}

/// Whether the store went away, and the meeting with it.
pub fn is_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Rendezvous && error.scope() == Scope::Link
}

/// Waits until so many ranks have read how the meeting ended, at most for `bound`. Whoever serves
/// the store calls this before letting go of it. Returns whether all have read.
pub fn linger(store: &dyn Store, generation: u64, expected: u32, bound: Duration) -> bool {
    await_count(store, &format!("{}read", prefix(generation)), expected, bound)
}

/// Waits until a counter in the store has come to `expected`, at most for `bound`. Returns whether
/// it has.
pub fn await_count(store: &dyn Store, key: &str, expected: u32, bound: Duration) -> bool {
    let end = Instant::now() + bound;
    let mut pause = Duration::from_millis(1);
    loop {
        let read = match store.get(key) {
            Ok(Some(count)) => std::str::from_utf8(&count).ok().and_then(|text| text.parse().ok()),
            Ok(None) => Some(0),
            Err(_) => return false,
        };
        if read.unwrap_or(0) >= u64::from(expected) {
            return true;
        }
        let now = Instant::now();
        if now >= end {
            return false;
        }
        std::thread::sleep(pause.min(end - now));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The keys of one generation.
pub(super) fn prefix(generation: u64) -> String {
    format!("kirsh/{generation}/")
}

struct Meeting<'a> {
    store: &'a dyn Store,
    keys: Prefix<&'a dyn Store>,
    seal: Seal<'a>,
    me: &'a Joiner,
    started: Instant,
    /// When to name the late ones next.
    warn_at: Cell<Option<Instant>>,
    patience: Patience<'a>,
    refused_before: Option<Vec<u8>>,
}

impl Meeting<'_> {
    /// The whole protocol, as one rank walks it.
    fn attend(&self) -> Result<Table> {
        if self.keys.add("meta/turn", 1)? == 1 {
            let body = Meta::of(self.me).encode();
            self.keys.set("meta", &self.seal.close(Meta::LABEL, body))?;
        } else {
            let value = self.await_value("meta")?;
            agree::compare(self.me, &self.seal, &value, &self.store.describe())
                .or_else(|error| self.fail(error))?;
        }
        agree::check_alone(self.me).or_else(|error| self.fail(error))?;
        self.claim().or_else(|error| self.fail(error))?;
        let record = self.seal.close(RECORD_LABEL, encode_record(&self.me.member()));
        self.keys.set(&format!("record/{}", self.me.rank), &record)?;

        if self.me.rank == 0 {
            let ranks = self.collect()?;
            let table = agree::check_hosts(self.me, &ranks)
                .and_then(|()| Table::draw(self.me, ranks))
                .or_else(|error| self.fail(error))?;
            match self.settle(&Verdict::Formed(table.clone()))? {
                None => Ok(table),
                Some(value) => self.accept(&value),
            }
        } else {
            let value = self.await_value("verdict")?;
            self.accept(&value)
        }
    }

    /// Takes this rank's place, unless somebody sits there.
    fn claim(&self) -> Result<()> {
        let rank = self.me.rank;
        if self.keys.add(&format!("claim/{rank}"), 1)? == 1 {
            return Ok(());
        }
        let soon = self.patience.deadline().min(Instant::now() + COURTESY);
        let other = self.keys.wait(&format!("record/{rank}"), soon)?;
        let other = other
            .and_then(|value| decode_record(self.seal.open(RECORD_LABEL, &value)?.0))
            .map_or_else(|| "a process that has not said who it is".to_owned(), |m| m.who());
        Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {rank} is taken twice: by {other} and by {} (met through {}); each process \
                 needs a rank of its own",
                self.me.who(),
                self.store.describe()
            ),
        ))
    }

    /// Rank 0 waits for the records of all.
    fn collect(&self) -> Result<Vec<Member>> {
        let mut ranks = Vec::new();
        for rank in 0..self.me.world_size {
            let key = format!("record/{rank}");
            let value = self.await_value(&key)?;
            let member = agree::admit(self.me, &self.seal, rank, &value, &self.store.describe())
                .or_else(|error| self.fail(error))?;
            ranks.push(member);
        }
        Ok(ranks)
    }

    /// Waits for a value, looking now and then whether the meeting has failed elsewhere.
    fn await_value(&self, key: &str) -> Result<Vec<u8>> {
        loop {
            let now = Instant::now();
            if let Some(value) =
                self.keys.wait(key, self.patience.deadline().min(now + LOOK_EVERY))?
            {
                return Ok(value);
            }
            if key != "verdict"
                && let Some(verdict) = self.keys.get("verdict")?
            {
                self.accept(&verdict)?;
            }
            let now = Instant::now();
            let end = match (self.patience.check(), self.refused()?) {
                (Err(interrupt), _) => Some(self.interrupted(&interrupt)),
                (Ok(()), Some(error)) => Some(error),
                (Ok(()), None) if self.patience.is_over() => Some(self.late()?),
                (Ok(()), None) => None,
            };
            if let Some(error) = end {
                // The table may have come at the last moment: then it is what was waited for.
                return match self.settle(&Verdict::failed(&error)) {
                    Ok(Some(value)) if key == "verdict" => Ok(value),
                    Ok(Some(value)) => self.accept(&value).and(Err(error)),
                    Ok(None) | Err(_) => Err(error),
                };
            }
            if self.warn_at.get().is_some_and(|at| now >= at) {
                self.warn_at.set(self.me.warn_after.map(|after| now + after));
                self.warn()?;
            }
        }
    }

    /// Whether a store turned away somebody whom this meeting still waits for.
    fn refused(&self) -> Result<Option<Error>> {
        let Some(value) = self.store.get(REFUSED)? else { return Ok(None) };
        if Some(&value) == self.refused_before.as_ref() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&value).into_owned();
        // A stray of another job under a rank that sits here already harms nobody.
        if let Some(rank) = refused_rank(&text)
            && (rank == self.me.rank || self.keys.get(&format!("claim/{rank}"))?.is_some())
        {
            return Ok(None);
        }
        Ok(Some(Error::new(ErrorKind::Authentication, text)))
    }

    /// The ranks whose records are not there.
    fn missing(&self) -> Result<Vec<Rank>> {
        let mut missing = Vec::new();
        for rank in (0..self.me.world_size).filter(|rank| *rank != self.me.rank) {
            if self.keys.get(&format!("record/{rank}"))?.is_none() {
                missing.push(rank);
            }
        }
        Ok(missing)
    }

    /// What to say when the deadline has passed.
    fn late(&self) -> Result<Error> {
        let missing = self.missing()?;
        let waited = self.started.elapsed().as_secs_f64();
        let (me, size) = (self.me, self.me.world_size);
        let text = if missing.is_empty() {
            format!(
                "all {size} ranks have come, but rank 0 published no table within {waited:.1} s \
                 (through {})",
                self.store.describe()
            )
        } else {
            format!(
                "{} of {size} did not come within {waited:.1} s (KIRSH_JOIN_TIMEOUT; met through \
                 {}; told by {})",
                name_ranks(&missing),
                self.store.describe(),
                me.who()
            )
        };
        Ok(Error::new(ErrorKind::Timeout, text))
    }

    /// What the others are told when this rank is asked to stop.
    fn interrupted(&self, interrupt: &Error) -> Error {
        let text = format!("{} stopped joining: {}", self.me.who(), interrupt.message());
        Error::new(interrupt.kind(), text)
    }

    /// Names those who are late. Rank 0 asks for all; the others only miss rank 0, so that
    /// hundreds of ranks do not all ask for each other.
    fn warn(&self) -> Result<()> {
        let missing = match self.me.rank {
            0 => self.missing()?,
            _ if self.keys.get("record/0")?.is_none() => vec![0],
            _ => Vec::new(),
        };
        if !missing.is_empty() {
            tracing::warn!(
                "rank {} has waited {:.0} s for {} of {} to join through {}",
                self.me.rank,
                self.started.elapsed().as_secs_f64(),
                name_ranks(&missing),
                self.me.world_size,
                self.store.describe()
            );
        }
        Ok(())
    }

    /// Tells everyone why the meeting fails, and returns what they were told: this reason, or the
    /// one of somebody who was quicker.
    fn fail<T>(&self, error: Error) -> Result<T> {
        if is_lost(&error) {
            // Should another store be there by now, that is another meeting, and none of its fault.
            return Err(error);
        }
        match self.settle(&Verdict::failed(&error)) {
            Ok(Some(value)) => match self.read_verdict(&value) {
                Ok((Verdict::Failed { kind, text }, _)) => Err(Error::new(kind, text)),
                // The world has formed without this rank.
                _ => Err(error),
            },
            // This is the reason that stands; or nobody can be told, which is no better one.
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Publishes a verdict unless there is one already, which is then returned.
    fn settle(&self, verdict: &Verdict) -> Result<Option<Vec<u8>>> {
        if self.keys.add("verdict/turn", 1)? == 1 {
            let body = verdict.encode(self.me.token.as_ref());
            self.keys.set("verdict", &self.seal.close(VERDICT_LABEL, body))?;
            return Ok(None);
        }
        let standing = self.keys.wait("verdict", Instant::now() + COURTESY)?;
        standing.map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "a rank began to say how the meeting ended and then fell silent (met through \
                     {})",
                    self.store.describe()
                ),
            )
        })
    }

    /// A verdict, and whether its seal is right.
    fn read_verdict(&self, value: &[u8]) -> Result<(Verdict, bool)> {
        let strange = || agree::strange(self.me, "verdict", &self.store.describe());
        let (body, proven) = self.seal.open(VERDICT_LABEL, value).ok_or_else(strange)?;
        let verdict = Verdict::decode(body, self.me.token.as_ref()).ok_or_else(strange)?;
        Ok((verdict, proven))
    }

    /// Takes a verdict that somebody published.
    fn accept(&self, value: &[u8]) -> Result<Table> {
        let (table, proven) = match self.read_verdict(value)? {
            (Verdict::Failed { kind, text }, _) => return Err(Error::new(kind, text)),
            (Verdict::Formed(table), proven) => (table, proven),
        };
        let mine = table.ranks.get(self.me.rank as usize);
        if !proven {
            return Err(Error::new(
                ErrorKind::Authentication,
                format!(
                    "the table that rank 0 published is not sealed with this rank's token \
                     (KIRSH_TOKEN); met through {}",
                    self.store.describe()
                ),
            ));
        }
        if table.ranks.len() != self.me.world_size as usize
            || mine.is_none_or(|mine| mine.process_id != self.me.process_id)
        {
            return Err(Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "the world has formed without {}: its place is held by {} (met through {})",
                    self.me.who(),
                    mine.map_or_else(|| "nobody".to_owned(), Member::who),
                    self.store.describe()
                ),
            ));
        }
        Ok(table)
    }
}

/// The rank that a record of refusal is about, where it is known.
fn refused_rank(text: &str) -> Option<Rank> {
    text.strip_prefix("rank ")?.split(' ').next()?.parse().ok()
}

/// `rank 3` or `ranks 1, 3, 4 and 12 more`.
fn name_ranks(ranks: &[Rank]) -> String {
    let named: Vec<String> = ranks.iter().take(NAMED_MAX).map(Rank::to_string).collect();
    let more = match ranks.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("rank{} {}{more}", if ranks.len() == 1 { "" } else { "s" }, named.join(", "))
}
