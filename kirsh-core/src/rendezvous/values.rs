//! The values that settings may have, and how their texts are read: `None` for a text that is not
//! allowed.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::identity::Rendezvous;
use crate::limits::{self, CHANNELS_MAX};
use crate::types::{Algorithm, Collective};

/// Which driver moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    Auto,
    Uring,
    Poll,
}

impl DriverChoice {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => DriverChoice::Auto,
            "uring" => DriverChoice::Uring,
            "poll" => DriverChoice::Poll,
            _ => return None,
        })
    }
}

/// Whether something is done that the library can decide about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Where it is worth it.
    Auto,
    On,
    Off,
}

impl Switch {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Switch::Auto,
            "on" => Switch::On,
            "off" => Switch::Off,
            _ => return None,
        })
    }
}

/// The class of the links between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChoice {
    /// By the rate of the NIC.
    Auto,
    /// The class of this rate.
    Mbit(i64),
}

impl LinkChoice {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(LinkChoice::Auto),
            "1gbit" => Some(LinkChoice::Mbit(1_000)),
            "10gbit" => Some(LinkChoice::Mbit(10_000)),
            "25gbit" => Some(LinkChoice::Mbit(25_000)),
            "100gbit" => Some(LinkChoice::Mbit(100_000)),
            _ => None,
        }
    }
}

/// An address that others reach this host under; without a port, the one that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

pub(super) fn parse_number(text: &str) -> Option<u32> {
    // `parse` alone would take a leading plus.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

pub(super) fn parse_world_size(text: &str) -> Option<u32> {
    parse_number(text).filter(|size| (1..=limits::WORLD_SIZE_MAX).contains(size))
}

pub(super) fn parse_rendezvous(text: &str) -> Option<Rendezvous> {
    Rendezvous::parse(text).ok()
}

pub(super) fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

pub(super) fn parse_job_id(text: &str) -> Option<String> {
    let fits = (1..=limits::JOB_ID_MAX).contains(&text.len());
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn parse_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn parse_path(text: &str) -> Option<std::path::PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

pub(super) fn parse_advertised(text: &str) -> Option<Vec<Advertised>> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.len() > limits::ADDRESSES_MAX {
        return None;
    }
    let one = |part: &str| {
        let address = match part.parse::<IpAddr>() {
            Ok(ip) => Advertised { ip, port: None },
            Err(_) => {
                let address: SocketAddr = part.parse().ok()?;
                Advertised { ip: address.ip(), port: Some(address.port()) }
            }
        };
        (!address.ip.is_unspecified() && address.port != Some(0)).then_some(address)
    };
    parts.into_iter().map(one).collect()
}

pub(super) fn parse_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| -> Option<u16> {
        parse_number(text.trim()).and_then(|port| port.try_into().ok()).filter(|port| *port != 0)
    };
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (port(low)?, port(high)?),
        None => (port(text)?, port(text)?),
    };
    (low <= high).then_some(low..=high)
}

/// The outer `Option` is whether the text is right, the inner one whether there is an end.
pub(super) fn parse_seconds(text: &str) -> Option<Option<Duration>> {
    if text == "inf" {
        return Some(None);
    }
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = if decimal { text.parse().ok()? } else { return None };
    // Above some thirty years sums with the clock could overflow; nobody means it.
    (seconds > 0.0 && seconds <= 1e9).then(|| Some(Duration::from_secs_f64(seconds)))
}

pub(super) fn parse_spin(text: &str) -> Option<Option<Duration>> {
    if text == "auto" {
        return Some(None);
    }
    let micros = parse_number(text).filter(|micros| *micros <= 1_000_000)?;
    Some(Some(Duration::from_micros(micros.into())))
}

/// `None` for auto.
pub(super) fn parse_channels(text: &str) -> Option<Option<u16>> {
    if text == "auto" {
        return Some(None);
    }
    let channels = u16::try_from(parse_number(text)?).ok()?;
    (1..=CHANNELS_MAX).contains(&channels).then_some(Some(channels))
}

/// Bytes a second; `None` for no limit.
pub(super) fn parse_rate(text: &str) -> Option<Option<u64>> {
    if text == "inf" {
        return Some(None);
    }
    let text = text.to_ascii_lowercase();
    let units = [("tbit", 1e12), ("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)];
    let number = |(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    let bits = units.into_iter().find_map(number).filter(|bits| (64e3..=1e12).contains(bits))?;
    Some(Some((bits / 8.0) as u64))
}

/// A number of sockets, where one is named.
pub(super) fn parse_stripes(text: &str) -> Option<Option<u8>> {
    if text == "auto" {
        return Some(None);
    }
    let stripes =
        text.parse().ok().filter(|stripes: &u8| (1..=limits::STRIPES_MAX).contains(stripes));
    stripes.map(Some)
}

/// Whether ranks of one host are linked by Unix sockets.
pub(super) fn parse_local(text: &str) -> Option<bool> {
    match text {
        "unix" => Some(true),
        "tcp" => Some(false),
        _ => None,
    }
}

/// Whether rails are used.
pub(super) fn parse_rails(text: &str) -> Option<bool> {
    match text {
        "auto" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

pub(super) fn parse_slice(text: &str) -> Option<Option<usize>> {
    if text == "auto" {
        return Some(None);
    }
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bytes = (parse_number(digits)? as usize).checked_mul(unit)?;
    (4096..=limits::SLICE_BYTES_MAX).contains(&bytes).then_some(Some(bytes))
}

pub(super) fn parse_algorithms(text: &str) -> Option<Vec<(Collective, Algorithm)>> {
    let mut pairs = Vec::new();
    for part in text.split(',') {
        let (collective, algorithm) = part.split_once(':')?;
        let collective = Collective::from_name(collective.trim())?;
        if pairs.iter().any(|(named, _)| *named == collective) {
            return None;
        }
        pairs.push((collective, Algorithm::from_name(algorithm.trim())?));
    }
    Some(pairs)
}

pub(super) fn parse_level(text: &str) -> Option<tracing::Level> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => text.parse().ok(),
        _ => None,
    }
}
