//! Which of a host's addresses may be used: what `KIRSH_IFACE` says. Pure: text in, yes or no out.

use std::net::IpAddr;

/// Which interfaces may be used, as `KIRSH_IFACE` says: names, beginnings of names (`eth*`) and
/// networks (`10.0.0.0/8`). A part behind `!` is excluded; `^` in front of the list, as
/// `NCCL_SOCKET_IFNAME` has it, excludes all of it. An exclusion always wins; where nothing is
/// included, everything is that is not excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFilter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    NamePrefix(String),
    Network { ip: IpAddr, prefix_len: u8 },
}

impl InterfaceFilter {
    /// Reads `eth0,ib*,10.0.0.0/8,!docker0`, or `^docker0,lo`; `None` where a part is malformed.
    pub fn parse(text: &str) -> Option<InterfaceFilter> {
        InterfaceFilter::read(text).ok()
    }

    /// What is wrong with a text, in words that go on from "where"; `None` for one that
    /// [`InterfaceFilter::parse`] takes.
    pub(super) fn problem(text: &str) -> Option<String> {
        InterfaceFilter::read(text).err()
    }

    fn read(text: &str) -> Result<InterfaceFilter, String> {
        let mut filter = InterfaceFilter::default();
        let text = text.trim();
        let (all_excluded, list) = match text.strip_prefix('^') {
            Some(list) => (true, list),
            None => (false, text),
        };
        for part in list.split(',').map(str::trim) {
            // Whoever writes `^` again, or further behind, can mean but one thing: not this one.
            let bare = part.strip_prefix(['!', '^']);
            let pattern = Pattern::read(bare.unwrap_or(part).trim())?;
            match all_excluded || bare.is_some() {
                true => filter.exclude.push(pattern),
                false => filter.include.push(pattern),
            }
        }
        Ok(filter)
    }

    /// Whether every interface is admitted.
    pub(super) fn is_open(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether an address on an interface of this name may be used.
    pub(super) fn admits(&self, name: &str, ip: IpAddr) -> bool {
        let fits = |pattern: &Pattern| pattern.fits(name, ip);
        (self.include.is_empty() || self.include.iter().any(fits)) && !self.exclude.iter().any(fits)
    }
}

impl Pattern {
    fn read(text: &str) -> Result<Pattern, String> {
        let wrong = |why: &str| Err(format!("{text:?} {why}"));
        if text.is_empty() {
            return Err("a part is empty".to_owned());
        }
        if let Some((ip, prefix_len)) = text.split_once('/') {
            let Ok(ip) = ip.parse::<IpAddr>() else {
                return wrong("does not begin with an IP address");
            };
            let digits = !prefix_len.is_empty() && prefix_len.bytes().all(|b| b.is_ascii_digit());
            return match prefix_len.parse::<u8>() {
                Ok(prefix_len) if digits && prefix_len <= bits(ip) => {
                    Ok(Pattern::Network { ip, prefix_len })
                }
                _ => Err(format!("{text:?} has no length from 0 to {} behind the /", bits(ip))),
            };
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Pattern::Network { ip, prefix_len: bits(ip) });
        }
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        // IFNAMSIZ is 16 with its closing zero; a name has neither blanks nor slashes.
        if name.len() > 15 {
            return wrong("is longer than the 15 bytes that a name has at most");
        }
        if !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/!^*".contains(&byte)) {
            return wrong("is no name of an interface");
        }
        Ok(match is_prefix {
            true => Pattern::NamePrefix(name.to_owned()),
            false => Pattern::Name(name.to_owned()),
        })
    }

    fn fits(&self, name: &str, ip: IpAddr) -> bool {
        let shares = |leading_zeros: u32, prefix_len: u8| leading_zeros >= u32::from(prefix_len);
        match (self, ip) {
            (Pattern::Name(wanted), _) => wanted == name,
            (Pattern::NamePrefix(wanted), _) => name.starts_with(wanted.as_str()),
            (Pattern::Network { ip: IpAddr::V4(network), prefix_len }, IpAddr::V4(ip)) => {
                shares((network.to_bits() ^ ip.to_bits()).leading_zeros(), *prefix_len)
            }
            (Pattern::Network { ip: IpAddr::V6(network), prefix_len }, IpAddr::V6(ip)) => {
                shares((network.to_bits() ^ ip.to_bits()).leading_zeros(), *prefix_len)
            }
            _ => false,
        }
    }
}

/// How long an address is.
fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}
