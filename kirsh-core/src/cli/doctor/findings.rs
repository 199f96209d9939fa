//! What of all that was found a person should know, in words. Pure.

use serde::Serialize;

use super::record::{Examined, Pair, RankFacts};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Collectives cannot work.
    Error,
    /// They are slower than they could be, or may come to fail.
    Warning,
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) text: String,
}

/// Below this io_uring's rings and buffers may not fit, on kernels that charge them (before 5.12) and
/// with many communicators: the usual default of Linux is 8 MiB, and was 64 KiB.
const LOCKED_MEMORY_SMALL: u64 = 1 << 20;

/// How much faster another address must be to be worth a word.
const FASTER: f64 = 2.0;

/// Nominal rates of networks in Mbit/s.
const CLASSES: [u32; 9] = [10, 100, 1000, 2500, 5000, 10_000, 25_000, 40_000, 100_000];

/// From this rate on the packets per second of small frames cost a core.
const JUMBO_FROM_MBIT: f64 = 8000.0;

/// Everything worth saying, the worst first.
pub(super) fn of(examined: &Examined) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |severity, text| {
        let finding = Finding { severity, text };
        // What holds for every rank of a host is said once.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    for pair in &examined.pairs {
        of_pair(pair, examined, &mut say);
    }
    asymmetric(examined, &mut say);
    for rank in &examined.ranks {
        of_rank(rank, &mut say);
    }
    differing(examined, &mut say);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn of_pair(pair: &Pair, examined: &Examined, say: &mut impl FnMut(Severity, String)) {
    let name = name_of(pair, examined);
    let Some(chosen) = &pair.chosen else {
        let tried: Vec<String> = pair
            .tried
            .iter()
            .filter_map(|tried| Some(format!("{}: {}", tried.address, tried.problem.as_ref()?)))
            .collect();
        let tried =
            if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) };
        let why = pair.problem.as_deref().unwrap_or("nobody knows why");
        say(Severity::Error, format!("{name} cannot connect: {why}{tried}"));
        return;
    };
    if let Some(problem) = &pair.problem {
        say(Severity::Error, format!("{name}: {problem}"));
    }
    // In the order in which they are tried, each that leads nowhere costs time.
    let before = pair.tried.iter().take_while(|tried| tried.address != *chosen);
    for tried in before {
        let why = tried.problem.as_deref().unwrap_or("no answer");
        let at = &tried.address;
        let text = format!(
            "{name}: {at} is published before {chosen} and leads nowhere ({why}); every connection \
             tries it first: leave it out with KIRSH_IFACE"
        );
        say(Severity::Warning, text);
    }
    if let Some(rate) = pair.bandwidth_mbit {
        let rival = pair.tried.iter().filter(|tried| tried.address != *chosen);
        let rival = rival.filter_map(|tried| Some((tried, tried.bandwidth_mbit?)));
        if let Some((tried, faster)) = rival.max_by(|a, b| a.1.total_cmp(&b.1))
            && faster >= FASTER * rate
        {
            let text = format!(
                "{name} runs over {chosen} ({}) while {} is reachable ({}): choose its network with \
                 KIRSH_IFACE",
                rate_of(rate),
                tried.address,
                rate_of(faster)
            );
            say(Severity::Warning, text);
        }
    }
    of_path(pair, &name, say);
}

/// What the kernel says of a connection between hosts.
fn of_path(pair: &Pair, name: &str, say: &mut impl FnMut(Severity, String)) {
    if pair.same_host {
        return;
    }
    let mss = pair.mss.map_or(String::new(), |mss| format!(", MSS {mss}"));
    match pair.path_mtu {
        Some(mtu) if mtu < 1500 => {
            let text = format!("{name}: MTU {mtu}{mss}: a tunnel or VPN on the way?");
            say(Severity::Warning, text);
        }
        Some(1500) => {
            if pair.bandwidth_mbit.is_some_and(|rate| rate >= JUMBO_FROM_MBIT) {
                let text = format!(
                    "{name}: MTU 1500{mss} at {:.0} Mbit/s: jumbo frames (MTU 9000) would save \
                     processor time, if every switch on the way carries them",
                    pair.bandwidth_mbit.unwrap_or_default()
                );
                say(Severity::Warning, text);
            } else {
                say(Severity::Note, "MTU 1500 between hosts".to_owned());
            }
        }
        Some(mtu) => say(Severity::Note, format!("MTU {mtu} between hosts")),
        None => {}
    }
    if let Some(lost @ 1..) = pair.retransmits {
        let text = format!(
            "{name}: TCP sent {lost} segments again while it was measured: a full queue or a bad \
             cable on the way"
        );
        say(Severity::Note, text);
    }
}

/// Whether one direction is much slower than the other.
fn asymmetric(examined: &Examined, say: &mut impl FnMut(Severity, String)) {
    for there in &examined.pairs {
        let back =
            examined.pairs.iter().find(|pair| (pair.to, pair.from) == (there.from, there.to));
        if let Some(rate) = there.bandwidth_mbit
            && let Some(other) = back.and_then(|back| back.bandwidth_mbit)
            && other >= FASTER * rate
            && !there.same_host
        {
            let text = format!(
                "{} carries {}, and the way back {}",
                name_of(there, examined),
                rate_of(rate),
                rate_of(other)
            );
            say(Severity::Warning, text);
        }
    }
}

fn of_rank(rank: &RankFacts, say: &mut impl FnMut(Severity, String)) {
    let host = &rank.host;
    if rank.driver.is_empty() {
        say(
            Severity::Error,
            format!("rank {} (host {host}) has no driver: {}", rank.rank, rank.why),
        );
    } else if rank.driver != "uring" && !rank.forced {
        say(Severity::Note, format!("host {host} runs without io_uring: {}", rank.why));
    }
    if let Some(bytes) = rank.locked_memory_bytes
        && bytes < LOCKED_MEMORY_SMALL
    {
        let text = format!(
            "host {host}: the locked memory limit is small ({} KiB): raise ulimit -l",
            bytes >> 10
        );
        say(Severity::Warning, text);
    }
    if let Some(name) = &rank.congestion_control {
        say(Severity::Note, format!("host {host}: congestion control {name}"));
    }
}

/// What ranks differ in and need not.
fn differing(examined: &Examined, say: &mut impl FnMut(Severity, String)) {
    let mut drivers: Vec<&str> = examined.ranks.iter().map(|rank| rank.driver.as_str()).collect();
    drivers.retain(|driver| !driver.is_empty());
    drivers.sort_unstable();
    drivers.dedup();
    if drivers.len() > 1 {
        let text = format!("ranks run on different drivers ({}): that works", drivers.join(", "));
        say(Severity::Note, text);
    }
}

/// "rank 3 (host a) -> rank 1 (host b)".
fn name_of(pair: &Pair, examined: &Examined) -> String {
    let one = |rank: u32| match examined.ranks.get(rank as usize) {
        Some(facts) if !facts.host.is_empty() => format!("rank {rank} (host {})", facts.host),
        _ => format!("rank {rank}"),
    };
    format!("{} -> {}", one(pair.from), one(pair.to))
}

/// A rate, and the class of network that it is of.
pub(super) fn rate_of(mbit: f64) -> String {
    // A little above the nominal rate: a queue that was empty takes more for a moment.
    let class = CLASSES.iter().find(|class| mbit <= f64::from(**class) * 1.1);
    match class {
        Some(class) if *class >= 1000 => {
            format!("{mbit:.0} Mbit/s, {} Gbit/s class", f64::from(*class) / 1000.0)
        }
        Some(class) => format!("{mbit:.1} Mbit/s, {class} Mbit/s class"),
        None => format!("{mbit:.0} Mbit/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Tried;
    use super::*;

    fn tried(address: &str, problem: Option<&str>, rate: Option<f64>) -> Tried {
        let problem = problem.map(str::to_owned);
        Tried { address: address.to_owned(), problem, bandwidth_mbit: rate }
    }

    fn examined(pairs: Vec<Pair>) -> Examined {
        let rank = |(rank, host): (u32, &str)| RankFacts {
            rank,
            host: host.to_owned(),
            driver: "uring".to_owned(),
            ..RankFacts::default()
        };
        let ranks = [(0, "a"), (1, "b")].map(rank).to_vec();
        Examined { kirsh: "", ranks, pairs, rails: Vec::new() }
    }

    fn texts(examined: &Examined) -> Vec<String> {
        of(examined)
            .into_iter()
            .map(|found| format!("{:?}: {}", found.severity, found.text))
            .collect()
    }

    #[test]
    fn a_slower_way_than_there_is_and_a_dead_address_before_it_are_named() {
        let pair = Pair {
            from: 0,
            to: 1,
            tried: vec![
                tried("172.17.0.1:9", Some("Connection refused"), None),
                tried("192.168.0.2:9", None, Some(93.0)),
                tried("10.0.0.2:9", None, Some(940.0)),
            ],
            chosen: Some("192.168.0.2:9".to_owned()),
            bandwidth_mbit: Some(93.0),
            path_mtu: Some(1400),
            ..Pair::default()
        };
        let texts = texts(&examined(vec![pair])).join("\n");
        for part in [
            "rank 0 (host a) -> rank 1 (host b) runs over 192.168.0.2:9 (93.0 Mbit/s, 100 Mbit/s \
             class) while 10.0.0.2:9 is reachable (940 Mbit/s, 1 Gbit/s class)",
            "172.17.0.1:9 is published before 192.168.0.2:9 and leads nowhere (Connection refused)",
            "MTU 1400",
        ] {
            assert!(texts.contains(part), "{part:?} is missing in {texts}");
        }
    }

    #[test]
    fn a_pair_without_a_way_is_an_error_that_stands_first() {
        let dead = Pair {
            from: 1,
            to: 0,
            tried: vec![tried("10.0.0.1:9", Some("no answer within 3 s"), None)],
            problem: Some("none of its addresses answers".to_owned()),
            ..Pair::default()
        };
        let mut all = examined(vec![dead]);
        all.ranks[0].congestion_control = Some("bbr".to_owned());
        all.ranks[1].driver = "poll".to_owned();
        all.ranks[1].why = "forbidden".to_owned();
        all.ranks[1].locked_memory_bytes = Some(64 << 10);
        let texts = texts(&all);
        assert!(
            texts[0].starts_with("Error: rank 1 (host b) -> rank 0 (host a) cannot"),
            "{texts:?}"
        );
        assert!(texts[0].contains("10.0.0.1:9: no answer"), "{texts:?}");
        let rest = texts[1..].join("\n");
        for part in
            ["congestion control bbr", "without io_uring: forbidden", "(64 KiB)", "poll, uring"]
        {
            assert!(rest.contains(part), "{part:?} is missing in {rest}");
        }
    }

    #[test]
    fn rates_are_told_with_their_class() {
        assert_eq!(rate_of(94.1), "94.1 Mbit/s, 100 Mbit/s class");
        assert_eq!(rate_of(105.0), "105.0 Mbit/s, 100 Mbit/s class");
        assert_eq!(rate_of(2400.0), "2400 Mbit/s, 2.5 Gbit/s class");
        assert_eq!(rate_of(999_999.0), "999999 Mbit/s");
    }
}
