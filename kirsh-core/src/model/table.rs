//! Tables of costs: the text that `kirsh tune` writes and people may edit, and the bytes that rank
//! 0 hands out.
//!
//! Numbers are decimal, with up to six digits behind the point, which is a picosecond of a
//! microsecond and a femtosecond of a nanosecond. They are read without rounding, so that a table
//! means the same to every rank.

use std::fmt::Write;

use super::network::{Class, Costs, Link};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{STRIPES_MAX, TABLE_TEXT_BYTES_MAX};

/// The first line that counts: which layout the text has.
const VERSION: &str = "kirsh-costs 1";

/// Bytes of a table as bytes.
pub(super) const TABLE_BYTES: usize = NAMES.len() * 8;

/// The costs by name: what a line's left side may be, and what it means.
const NAMES: [(&str, &str); 13] = [
    ("cores", "cores of a host"),
    ("local.latency_us", "within a host: from the first byte's leaving to its being seen"),
    ("local.wire_ns_per_byte", "there is no wire within a host"),
    ("local.frame_us", "processor time of a frame on either side, whatever its length"),
    ("local.copy_ns_per_byte", "processor time of a byte on either side"),
    ("remote.latency_us", "the same between hosts"),
    ("remote.wire_ns_per_byte", "8 / Gbit/s, and 6 % more for what frames Ethernet and TCP"),
    ("remote.frame_us", ""),
    ("remote.copy_ns_per_byte", ""),
    ("fold_ns_per_byte", "folding what was received"),
    ("fold_half_ns_per_byte", "the same for float16 and bfloat16"),
    ("move_ns_per_byte", "moving within a rank's own arrays"),
    ("remote.stripes", "sockets between two ranks for what is large"),
];

/// Those that are counts, and no times.
const COUNTS: [usize; 2] = [0, STRIPES];

/// Tables from before there were stripes do not name them: the link's rate then says what is usual.
const STRIPES: usize = 12;

/// Where the rate of links between hosts stands.
const WIRE: usize = 6;

/// Beyond these nothing is a network: 10 s of latency, 10 µs a byte (less than 1 Mbit/s). Sums of
/// them stay far below what 64 bits hold.
const LARGEST: u64 = 10_000_000_000;
const LATENCY_LARGEST: u64 = 10_000_000_000_000;

/// Cores that a table may claim.
const CORES_MAX: u64 = 65_536;

impl Costs {
    fn numbers(&self) -> [u64; NAMES.len()] {
        let Costs { local, remote, fold_fs, fold_half_fs, move_fs, cores, stripes } = *self;
        let of = |link: Link| [link.latency_ps, link.wire_fs, link.frame_ps, link.copy_fs];
        let ([a, b, c, d], [e, f, g, h]) = (of(local), of(remote));
        [cores.into(), a, b, c, d, e, f, g, h, fold_fs, fold_half_fs, move_fs, stripes.into()]
    }

    /// `None` where a number is larger than any network's.
    fn from_numbers(numbers: [u64; NAMES.len()]) -> Option<Self> {
        let [cores, a, b, c, d, e, f, g, h, fold_fs, fold_half_fs, move_fs, stripes] = numbers;
        let latencies = [a, e].into_iter().all(|latency| latency <= LATENCY_LARGEST);
        let others = [b, c, d, f, g, h, fold_fs, fold_half_fs, move_fs];
        if !latencies || !others.into_iter().all(|cost| cost <= LARGEST) {
            return None;
        }
        let cores =
            u32::try_from(cores).ok().filter(|n| (1..=CORES_MAX).contains(&u64::from(*n)))?;
        let stripes = u8::try_from(stripes).ok().filter(|n| (1..=STRIPES_MAX).contains(n))?;
        let link = |latency_ps, wire_fs, frame_ps, copy_fs| Link {
            latency_ps,
            wire_fs,
            frame_ps,
            copy_fs,
        };
        let (local, remote) = (link(a, b, c, d), link(e, f, g, h));
        Some(Costs { local, remote, fold_fs, fold_half_fs, move_fs, cores, stripes })
    }

    /// The table as text, opened by these lines of comment.
    pub fn to_text(&self, comment: &str) -> String {
        let mut text = String::new();
        for line in comment.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", format!("# {line}").trim_end());
        }
        let _ = writeln!(text, "{VERSION}");
        for (at, ((name, meaning), number)) in NAMES.iter().zip(self.numbers()).enumerate() {
            let value = if COUNTS.contains(&at) { number.to_string() } else { decimal(number) };
            let line = format!("{name} = {value}");
            let _ = match *meaning {
                "" => writeln!(text, "{line}"),
                meaning => writeln!(text, "{line:<36}# {meaning}"),
            };
        }
        text
    }

    /// The table that a text holds: `kirsh-costs 1`, then a line `name = number` for each cost, in
    /// any order. What follows a `#` is a comment.
    ///
    /// # Errors
    /// `Configuration`, naming the line and what it should be.
    pub fn from_text(text: &str) -> Result<Self> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        if text.len() > TABLE_TEXT_BYTES_MAX {
            return wrong(format!("a table of more than {TABLE_TEXT_BYTES_MAX} bytes is none"));
        }
        let content = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
        let lines = (1..).zip(text.lines().map(content));
        let mut lines = lines.filter(|(_, line): &(usize, String)| !line.is_empty());
        match lines.next() {
            Some((_, first)) if first == VERSION => {}
            Some((number, first)) => {
                return wrong(format!("line {number} is {first:?} where {VERSION:?} was expected"));
            }
            None => return wrong(format!("nothing is in it; its first line is {VERSION:?}")),
        }
        let mut numbers = [None; NAMES.len()];
        for (number, line) in lines {
            let Some((name, value)) = line.split_once('=') else {
                return wrong(format!("line {number} is {line:?}; write name = number"));
            };
            let Some(at) = NAMES.iter().position(|(known, _)| *known == name.trim()) else {
                let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                return wrong(format!("line {number}: {:?} is none of {names}", name.trim()));
            };
            let value = value.trim();
            let parsed =
                if COUNTS.contains(&at) { value.parse().ok() } else { parse_decimal(value) };
            let Some(parsed) = parsed else {
                return wrong(format!(
                    "line {number}: {value:?} is no number with up to six digits behind the point"
                ));
            };
            if numbers[at].replace(parsed).is_some() {
                return wrong(format!("line {number} says {} a second time", name.trim()));
            }
        }
        let rate = numbers[WIRE].map(Class::of_wire_fs);
        numbers[STRIPES] = numbers[STRIPES].or(rate.map(|class| class.stripes().into()));
        let mut all = [0; NAMES.len()];
        for ((name, _), (number, place)) in NAMES.iter().zip(numbers.iter().zip(&mut all)) {
            match number {
                Some(number) => *place = *number,
                None => return wrong(format!("{name} is missing")),
            }
        }
        Costs::from_numbers(all).map_or_else(
            || wrong("a number is larger than that of any network, or there are no cores or no sockets".into()),
            Ok,
        )
    }

    /// The table as bytes, for the hand-out.
    pub fn to_bytes(&self) -> [u8; TABLE_BYTES] {
        let mut bytes = [0; TABLE_BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(self.numbers()) {
            place.iter_mut().zip(number.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        }
        bytes
    }

    /// The table that `to_bytes` wrote; `None` for numbers that no table has.
    pub fn from_bytes(bytes: &[u8; TABLE_BYTES]) -> Option<Self> {
        let mut numbers = [0; NAMES.len()];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Costs::from_numbers(numbers)
    }
}

/// Millionths as a decimal number, without digits that say nothing.
fn decimal(millionths: u64) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A decimal number in millionths.
fn parse_decimal(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}
