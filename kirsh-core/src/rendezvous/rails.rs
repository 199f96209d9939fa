//! Which networks join all hosts of a world: its rails.
//!
//! Every rank has the same table of members, and so finds the same rails in the same order. Whether a
//! rail carries anything, and how much, is for whoever uses it to find out.

use std::net::IpAddr;

use super::codec::{Reader, Writer};
use super::table::Member;
use crate::limits::RAILS_MAX;

/// What a rank says of one of the addresses that it publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// How many leading bits of the address are its network's; 0 where it is no candidate for a rail: a
    /// loopback, virtual or advertised address.
    pub prefix: u8,
    /// Equal for addresses of one interface of the rank's host.
    pub interface: u8,
}

impl Place {
    pub(super) fn write(self, to: &mut Writer) {
        to.u8(self.prefix).u8(self.interface);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Place> {
        Some(Place { prefix: from.u8()?, interface: from.u8()? })
    }
}

/// A network in which every rank has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rail {
    /// The first address of it.
    pub network: IpAddr,
    pub prefix: u8,
}

impl Rail {
    /// The network of an address.
    pub fn around(ip: IpAddr, prefix: u8) -> Rail {
        let kept = |bits: u32| u32::from(prefix).min(bits);
        let network = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - kept(32)).unwrap_or(0);
                IpAddr::from((ip.to_bits() & mask).to_be_bytes())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - kept(128)).unwrap_or(0);
                IpAddr::from((ip.to_bits() & mask).to_be_bytes())
            }
        };
        Rail { network, prefix }
    }

    /// Whether an address is in it.
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.network.is_ipv4() && Rail::around(ip, self.prefix) == *self
    }
}

impl std::fmt::Display for Rail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The rails of a world, in the order in which its first rank publishes its addresses, at most
/// [`RAILS_MAX`]. Networks that share an interface on any host are one rail, the first of them: there is
/// nothing to gain by using one cable twice. P-61
pub fn rails(members: &[Member]) -> Vec<Rail> {
    let Some(first) = members.first() else { return Vec::new() };
    let candidates =
        first.addresses.iter().zip(&first.places).filter(|(_, place)| place.prefix > 0);
    let mut rails: Vec<Rail> = Vec::new();
    for (address, place) in candidates {
        let rail = Rail::around(address.ip(), place.prefix);
        let shared =
            rails.iter().any(|other| members.iter().any(|member| share(member, other, &rail)));
        if rails.len() < RAILS_MAX && !shared && joins(members, &rail) {
            rails.push(rail);
        }
    }
    rails
}

/// The interfaces of a rank that are in a network, with their addresses.
fn within<'a>(member: &'a Member, rail: &'a Rail) -> impl Iterator<Item = (IpAddr, u8)> + 'a {
    let all = member.addresses.iter().zip(&member.places);
    all.filter(|(address, place)| place.prefix == rail.prefix && rail.holds(address.ip()))
        .map(|(address, place)| (address.ip(), place.interface))
}

/// Whether a rank has both networks on one interface.
fn share(member: &Member, one: &Rail, other: &Rail) -> bool {
    within(member, one).any(|(_, first)| within(member, other).any(|(_, second)| first == second))
}

/// Whether every rank has an address in the network, and each host one of its own: bridges of containers
/// have the same on all hosts, and lead nowhere.
fn joins(members: &[Member], rail: &Rail) -> bool {
    let mut owners = std::collections::HashMap::new();
    members.iter().all(|member| {
        let mut any = false;
        within(member, rail).all(|(ip, _)| {
            any = true;
            *owners.entry(ip).or_insert(member.host_id) == member.host_id
        }) && any
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// A rank with these addresses: text, prefix, interface.
    fn member(host_id: u64, addresses: &[(&str, u8, u8)]) -> Member {
        let of = |text: &str| SocketAddr::new(text.parse().unwrap(), 7);
        Member {
            rank: 0,
            process_id: 0,
            host_id,
            pid: 0,
            cores: 1,
            host_name: String::new(),
            addresses: addresses.iter().map(|(text, ..)| of(text)).collect(),
            places: addresses
                .iter()
                .map(|(_, prefix, interface)| Place { prefix: *prefix, interface: *interface })
                .collect(),
        }
    }

    fn found(members: &[Member]) -> Vec<String> {
        rails(members).iter().map(Rail::to_string).collect()
    }

    // P-61
    #[test]
    fn networks_that_every_rank_is_in_are_rails_in_the_order_of_the_first() {
        let world = [
            member(
                1,
                &[
                    ("10.1.0.1", 24, 0),
                    ("10.2.0.1", 16, 1),
                    ("10.3.0.1", 24, 2),
                    ("127.0.0.1", 0, 3),
                ],
            ),
            member(1, &[("10.2.0.1", 16, 1), ("10.1.0.1", 24, 0), ("127.0.0.1", 0, 3)]),
            member(2, &[("10.1.0.77", 24, 0), ("10.2.200.9", 16, 1), ("10.3.0.2", 24, 2)]),
        ];
        assert_eq!(found(&world), ["10.1.0.0/24", "10.2.0.0/16"]);
        assert_eq!(found(&world[..1]), ["10.1.0.0/24", "10.2.0.0/16", "10.3.0.0/24"]);
        assert!(found(&[]).is_empty());
        let rail = rails(&world)[1];
        assert!(rail.holds("10.2.255.255".parse().unwrap()));
        assert!(!rail.holds("10.3.0.0".parse().unwrap()) && !rail.holds("::1".parse().unwrap()));
    }

    // P-61
    #[test]
    fn one_interface_is_one_rail_and_an_address_that_two_hosts_have_is_none() {
        let both = |host, last: &str| {
            let (v4, v6) = (format!("10.1.0.{last}"), format!("fd77::{last}"));
            member(host, &[(&v4, 24, 0), (&v6, 64, 0), ("172.17.0.1", 16, 1)])
        };
        assert_eq!(found(&[both(1, "1"), both(2, "2")]), ["10.1.0.0/24"]);
        // Another prefix is another view of the network, of which nobody knows which is right.
        let odd = [member(1, &[("10.1.0.1", 24, 0)]), member(2, &[("10.1.0.2", 16, 0)])];
        assert!(found(&odd).is_empty());
        let v6 = [member(1, &[("fd77::1", 64, 0)]), member(2, &[("fd77::2", 64, 0)])];
        assert_eq!(found(&v6), ["fd77::/64"]);
    }
}
