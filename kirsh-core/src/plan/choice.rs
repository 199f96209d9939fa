//! Which algorithm, and which slices: the table of choice.
//!
//! Rank 0 hands its table out at join and the hashes are compared, so every rank chooses alike.
//! Choosing is a pure function of the table, the layout of the world and the call.

use sha2::{Digest, Sha256};

use super::algorithms;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{SELECTION_RULES_MAX, SLICE_BYTES_MAX};
use crate::types::{Algorithm, Collective, DataType};

/// How the ranks of a world lie on hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The world size.
    pub world: u32,
    /// Ranks on the host that has the most of them.
    pub ranks_per_host_max: u32,
}

impl Layout {
    /// Whether nothing has to leave the host.
    pub const fn one_host(&self) -> bool {
        self.ranks_per_host_max >= self.world
    }
}

/// What was chosen for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub algorithm: Algorithm,
    /// Bytes of a slice, whole elements.
    pub slice: u32,
}

/// One line of the table: what to do with arrays of at least this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub collective: Collective,
    /// Only where all ranks share a host (`Some(true)`), or do not (`Some(false)`).
    pub one_host: Option<bool>,
    /// Bytes from which the rule holds, beside those that come with each rank.
    pub bytes_min: u64,
    /// Bytes from which the rule holds, for each rank of the world.
    pub bytes_min_per_rank: u64,
    pub choice: Choice,
}

impl Rule {
    fn holds(&self, layout: Layout, bytes: u64) -> bool {
        let per_world = self.bytes_min_per_rank.saturating_mul(layout.world.into());
        self.one_host.is_none_or(|wanted| wanted == layout.one_host())
            && bytes >= self.bytes_min.saturating_add(per_world)
    }
}

/// A table of choice, with the algorithms that a user forced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The first that holds is taken.
    rules: Vec<Rule>,
    forced: Vec<(Collective, Algorithm)>,
}

const KIB: u32 = 1 << 10;

/// What a call is cut into where no rule speaks of its algorithm: over loopback 256 KiB to 1 MiB
/// moved most, and the smallest of these leaves most to overlap.
const SLICE_DEFAULT: u32 = 256 * KIB;

/// The version of the encoding.
const VERSION: u8 = 1;

const RULE_BYTES: usize = 23;

impl Default for Selection {
    fn default() -> Self {
        Selection::built_in()
    }
}

impl Selection {
    /// The first table. Its figures come from a handful of runs over loopback and from where peers
    /// place theirs, not yet from measuring Kirsh itself.
    pub fn built_in() -> Self {
        use Algorithm::*;
        use Collective::*;
        let rule = |collective, one_host, bytes_min, bytes_min_per_rank, algorithm, slice| Rule {
            collective,
            one_host,
            bytes_min,
            bytes_min_per_rank,
            choice: Choice { algorithm, slice },
        };
        let kib = u64::from(KIB);
        let rules = vec![
            // Ring moves least but takes 2 (n - 1) turns, so it starts at 64 KiB on 2 ranks and
            // that much later on more. Two ranks have one exchange of everything or two of half:
            // the same bytes, half the folding. Within a host a frame costs processor time, which
            // is what is short there; between hosts the wire is, and smaller slices fold sooner.
            rule(Allreduce, Some(true), 0, 32 * kib, Ring, 256 * KIB),
            rule(Allreduce, Some(false), 0, 32 * kib, Ring, 128 * KIB),
            rule(Allreduce, None, 0, 0, RecursiveDoubling, 256 * KIB),
            // A chain needs many more slices than ranks, a tree few hops. 12 KiB is where MPICH
            // leaves its binomial tree.
            rule(Broadcast, None, 4096 * kib, 0, Chain, 256 * KIB),
            rule(Broadcast, None, 256 * kib, 0, Chain, 64 * KIB),
            rule(Broadcast, None, 12 * kib, 0, Chain, 16 * KIB),
            rule(Broadcast, None, 0, 0, Binomial, 256 * KIB),
            rule(Barrier, None, 0, 0, Dissemination, 256 * KIB),
        ];
        Selection { rules, forced: Vec::new() }
    }

    /// The same table with algorithms forced by a text such as `allreduce:ring,broadcast:chain`.
    /// Later words win over earlier ones; an empty text forces nothing.
    ///
    /// # Errors
    /// `Configuration`, quoting the word and listing what it could have been.
    pub fn with_forced(mut self, text: &str) -> Result<Self> {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (collective, algorithm) = parse_forced(word)?;
            self.forced.retain(|(other, _)| *other != collective);
            self.forced.push((collective, algorithm));
        }
        // One order for one meaning, so that equal tables have equal hashes.
        self.forced.sort_unstable();
        Ok(self)
    }

    /// What a call of this size is carried out with. `wanted` is the algorithm that the call itself
    /// names, if it does, and goes before the forced ones.
    pub fn choose(
        &self,
        layout: Layout,
        collective: Collective,
        bytes: u64,
        dtype: DataType,
        wanted: Option<Algorithm>,
    ) -> Choice {
        let forced = self.forced.iter().find(|(other, _)| *other == collective);
        let forced = wanted.or(forced.map(|(_, algorithm)| *algorithm));
        let fits = |rule: &&Rule| {
            rule.collective == collective
                && forced.is_none_or(|algorithm| rule.choice.algorithm == algorithm)
        };
        // A forced algorithm is also used for sizes that no rule gives to it.
        let holding = self.rules.iter().filter(fits).find(|rule| rule.holds(layout, bytes));
        let choice = holding.or_else(|| self.rules.iter().rfind(fits)).map(|rule| rule.choice);
        let choice = choice.unwrap_or_else(|| Choice {
            algorithm: forced.unwrap_or(algorithms(collective)[0]),
            slice: SLICE_DEFAULT,
        });
        let size = dtype.size() as u32;
        Choice { slice: (choice.slice / size).max(1) * size, ..choice }
    }

    /// The table as bytes, for the hand-out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.forced.len() as u8];
        for (collective, algorithm) in &self.forced {
            bytes.extend([*collective as u8, *algorithm as u8]);
        }
        for rule in &self.rules {
            let one_host = rule.one_host.map_or(2, u8::from);
            bytes.extend([rule.collective as u8, one_host, rule.choice.algorithm as u8]);
            bytes.extend(rule.bytes_min.to_le_bytes());
            bytes.extend(rule.bytes_min_per_rank.to_le_bytes());
            bytes.extend(rule.choice.slice.to_le_bytes());
        }
        bytes
    }

    /// The table that `to_bytes` wrote.
    ///
    /// # Errors
    /// `Protocol` for anything else, also for a table that no algorithm could follow.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = |what: &str| {
            Error::new(ErrorKind::Protocol, format!("the table of choice from rank 0 {what}"))
        };
        let (head, rest) = bytes.split_at_checked(2).ok_or_else(|| malformed("is too short"))?;
        if head[0] != VERSION {
            let message = format!("has version {}, this is version {VERSION}", head[0]);
            return Err(malformed(&message));
        }
        let forced_len = usize::from(head[1]) * 2;
        let (forced, rules) =
            rest.split_at_checked(forced_len).ok_or_else(|| malformed("is too short"))?;
        let (rules, tail) = rules.as_chunks::<RULE_BYTES>();
        if !tail.is_empty() || rules.len() > SELECTION_RULES_MAX {
            return Err(malformed("has a wrong length"));
        }
        let unknown = || malformed("has a rule that this version does not know");
        let forced: Option<Vec<_>> = forced
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[collective, algorithm]| fitting(*collective, *algorithm))
            .collect();
        let forced = forced.ok_or_else(unknown)?;
        if !forced.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(malformed("forces a collective twice"));
        }
        let rules: Option<Vec<_>> = rules.iter().map(decode_rule).collect();
        Ok(Selection { rules: rules.ok_or_else(unknown)?, forced })
    }

    /// A number that is equal on two ranks only where they choose alike: the first 64 bits of the
    /// SHA-256 of [`Selection::to_bytes`], little-endian.
    pub fn hash(&self) -> u64 {
        let digest = Sha256::digest(self.to_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(first)
    }
}

/// Both numbers as names, where the second carries out the first.
fn fitting(collective: u8, algorithm: u8) -> Option<(Collective, Algorithm)> {
    let collective = Collective::from_u8(collective)?;
    let algorithm = Algorithm::from_u8(algorithm)?;
    algorithms(collective).contains(&algorithm).then_some((collective, algorithm))
}

fn decode_rule(bytes: &[u8; RULE_BYTES]) -> Option<Rule> {
    let (collective, algorithm) = fitting(bytes[0], bytes[2])?;
    let one_host = match bytes[1] {
        0 => Some(false),
        1 => Some(true),
        2 => None,
        _ => return None,
    };
    let slice = u32::from_le_bytes(bytes[19..23].try_into().ok()?);
    // Room for the largest element is the least that every type can be cut into.
    if slice < 8 || slice as usize > SLICE_BYTES_MAX {
        return None;
    }
    Some(Rule {
        collective,
        one_host,
        bytes_min: u64::from_le_bytes(bytes[3..11].try_into().ok()?),
        bytes_min_per_rank: u64::from_le_bytes(bytes[11..19].try_into().ok()?),
        choice: Choice { algorithm, slice },
    })
}

fn parse_forced(word: &str) -> Result<(Collective, Algorithm)> {
    let wrong = |why: String| {
        let message = format!("\"{word}\" does not choose an algorithm: {why}");
        Error::new(ErrorKind::Configuration, message)
    };
    let listed = |names: Vec<&str>| names.join(", ");
    let (collective, algorithm) = word
        .split_once(':')
        .ok_or_else(|| wrong("write collective:algorithm, as in allreduce:ring".into()))?;
    let collective = Collective::from_name(collective.trim()).ok_or_else(|| {
        let names = Collective::ALL.iter().map(|known| known.name()).collect();
        wrong(format!("the collectives are {}", listed(names)))
    })?;
    let fit = algorithms(collective);
    let algorithm = fit.iter().find(|known| known.name() == algorithm.trim()).ok_or_else(|| {
        let names = fit.iter().map(|known| known.name()).collect();
        wrong(format!("{collective} is carried out by {}", listed(names)))
    })?;
    Ok((collective, *algorithm))
}
