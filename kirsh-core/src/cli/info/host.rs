//! What the kernel says of this host and of the limits of this process.

use std::fs;

use serde::Serialize;

use crate::rendezvous::address;

/// The host, as far as it matters for collectives.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Host {
    pub(in crate::cli) name: String,
    /// Hexadecimal; equal for processes that reach each other by loopback.
    pub(in crate::cli) id: String,
    /// `None` where the kernel does not say, as for all below.
    pub(in crate::cli) kernel: Option<String>,
    pub(in crate::cli) cores: Cores,
    pub(in crate::cli) locked_memory_bytes: Option<Limit>,
    pub(in crate::cli) descriptors: Option<Limit>,
    /// What new connections get.
    pub(in crate::cli) congestion_control: Option<String>,
}

/// The cores that this process may use.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Cores {
    /// What the affinity mask and the cgroup's quota leave together: how many threads can run.
    pub(in crate::cli) usable: Option<usize>,
    /// The affinity mask as a list, such as `0-3,8`.
    pub(in crate::cli) affinity: Option<String>,
    /// How many cores that list names.
    pub(in crate::cli) in_affinity: Option<usize>,
}

/// A resource limit that holds for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(in crate::cli) enum Limit {
    At(u64),
    #[serde(serialize_with = "unlimited")]
    None,
}

fn unlimited<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("unlimited")
}

impl Host {
    /// Asks the kernel.
    pub(in crate::cli) fn look() -> Host {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let affinity = field(&status, "Cpus_allowed_list:").map(str::to_owned);
        Host {
            name: address::host_name(),
            id: format!("{:016x}", address::host_id()),
            kernel: line("/proc/sys/kernel/osrelease"),
            cores: Cores {
                usable: std::thread::available_parallelism().ok().map(|cores| cores.get()),
                in_affinity: affinity.as_deref().and_then(count_of),
                affinity,
            },
            locked_memory_bytes: limit(&limits, "Max locked memory"),
            descriptors: limit(&limits, "Max open files"),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What stands behind a name at the start of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The soft limit of this name in /proc/self/limits.
fn limit(limits: &str, name: &str) -> Option<Limit> {
    match field(limits, name)?.split_whitespace().next()? {
        "unlimited" => Some(Limit::None),
        number => number.parse().ok().map(Limit::At),
    }
}

/// How many numbers a list such as `0-3,8` holds.
fn count_of(list: &str) -> Option<usize> {
    let one = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        }
        None => part.parse::<usize>().ok().map(|_| 1),
    };
    list.split(',').map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        assert_eq!(count_of("0-1"), Some(2));
        assert_eq!(count_of("0-3,8,10-11"), Some(7));
        assert_eq!(count_of("5"), Some(1));
        assert_eq!(count_of(""), None);
        assert_eq!(count_of("3-1"), None);
    }

    #[test]
    fn soft_limits_are_read_by_name() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n\
                      Max locked memory         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(Limit::At(1024)));
        assert_eq!(limit(limits, "Max locked memory"), Some(Limit::None));
        assert_eq!(limit(limits, "Max stack size"), None);
        let json = serde_json::to_string(&[Limit::At(7), Limit::None]).unwrap();
        assert_eq!(json, r#"[7,"unlimited"]"#);
    }
}
