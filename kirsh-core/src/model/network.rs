//! The costs that a prediction is made of.

use crate::types::Rank;

/// Picoseconds. 64 bits hold 213 days of them.
pub type Time = u64;

/// Bytes that travel with each frame beside its payload: the header (P-1).
pub const FRAME_BYTES: u64 = 64;

/// How the ranks of a world lie on hosts: in blocks, `ranks_per_host_max` on each but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What it costs to pass a frame from one rank to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// From when the first byte leaves a rank until the other can see it.
    pub latency_ps: u64,
    /// Time on the wire of a byte, in femtoseconds; 0 within a host.
    pub wire_fs: u64,
    /// Processor time of a frame on either side, whatever its length.
    pub frame_ps: u64,
    /// Processor time of a byte on either side, in femtoseconds: the kernel's copy.
    pub copy_fs: u64,
}

/// What is measured of a network and its hosts: a table's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Costs {
    /// Between ranks of one host.
    pub local: Link,
    /// Between hosts. Ranks of one host share its NIC, each direction by itself.
    pub remote: Link,
    /// Folding a byte of what was received, in femtoseconds; 32-bit and wider types.
    pub fold_fs: u64,
    /// The same for 16-bit floats, which are folded in 32 bits.
    pub fold_half_fs: u64,
    /// Moving a byte within a rank's own arrays, in femtoseconds.
    pub move_fs: u64,
    /// Cores of a host, which its ranks share.
    pub cores: u32,
    /// Sockets that carry a large call between two ranks of different hosts.
    pub stripes: u8,
}

impl Costs {
    /// Encoding or decoding, by byte of the elements, in femtoseconds. A fold reads and writes more, and
    /// computes less: measured, the two differ by less than hosts do.
    pub const fn encode_fs(&self) -> u64 {
        self.fold_fs
    }
}

/// Switches with so many hosts each, whose links to each other carry less than the hosts' together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    pub hosts: u32,
    /// How many times as much as the uplink the hosts below it could send; 1 is none.
    pub oversubscription: u32,
}

/// One rank that takes longer over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Straggler {
    pub rank: Rank,
    /// How much longer, in thousandths: 1000 is not at all.
    pub factor_milli: u32,
}

/// A network to predict for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub costs: Costs,
    /// `None` where every host can send to every other at full rate.
    pub switch: Option<Switch>,
    pub straggler: Option<Straggler>,
}

impl Network {
    /// A network in which nothing holds up anybody beside these costs.
    pub const fn new(costs: Costs) -> Self {
        Network { costs, switch: None, straggler: None }
    }
}

/// The classes of links between hosts that have built-in costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Gbit1,
    Gbit10,
    Gbit25,
    Gbit100,
}

impl Class {
    /// Every class, slowest first.
    pub const ALL: [Class; 4] = [Class::Gbit1, Class::Gbit10, Class::Gbit25, Class::Gbit100];

    /// As people and settings write it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Gbit1 => "1gbit",
            Class::Gbit10 => "10gbit",
            Class::Gbit25 => "25gbit",
            Class::Gbit100 => "100gbit",
        }
    }

    /// The class that is nearest to a NIC's rate in Mbit/s, as the kernel shows it; numbers that
    /// are none (virtual NICs say -1 or 0) give the slowest.
    pub const fn of_mbit(mbit: i64) -> Self {
        // The borders lie at the geometric means: 2.5 and 5 Gbit/s have no class of their own.
        match mbit {
            ..=3_162 => Class::Gbit1,
            3_163..=15_811 => Class::Gbit10,
            15_812..=50_000 => Class::Gbit25,
            _ => Class::Gbit100,
        }
    }

    /// Sockets between two ranks. What comes in on one connection is worked off by the core that
    /// its NIC's receive queue belongs to, at some 15 to 30 Gbit/s where the kernel has to copy as well.
    /// So up to 10 Gbit/s one is enough, and more would only be more to look after.
    pub const fn stripes(self) -> u8 {
        match self {
            Class::Gbit1 | Class::Gbit10 => 1,
            Class::Gbit25 => 2,
            Class::Gbit100 => 4,
        }
    }

    /// The class that comes nearest to so much time on the wire of a byte, in femtoseconds.
    pub const fn of_wire_fs(wire_fs: u64) -> Self {
        // Turned around: bits of 8 to the byte, less what frames them.
        let wire_fs = if wire_fs == 0 { 1 } else { wire_fs };
        Class::of_mbit((8 * 1_000_000_000 * 1538 / 1448 / wire_fs) as i64)
    }

    /// The link between two hosts. Latency and processor costs are those of ordinary NICs with
    /// the kernel's TCP: faster ones moderate their interrupts less and offload more.
    pub const fn link(self) -> Link {
        let (mbit, latency_us, frame_ps) = match self {
            Class::Gbit1 => (1_000, 40, 4_000_000),
            Class::Gbit10 => (10_000, 25, 4_000_000),
            Class::Gbit25 => (25_000, 20, 3_500_000),
            Class::Gbit100 => (100_000, 15, 3_000_000),
        };
        Link {
            latency_ps: latency_us * 1_000_000,
            wire_fs: wire_fs(mbit * 1_000_000),
            frame_ps,
            copy_fs: COPY_FS,
        }
    }
}

/// The kernel's copy between a socket and an array, with the protocol's own work: some 8 GB/s.
const COPY_FS: u64 = 125_000;

/// Femtoseconds that a byte of payload takes on a wire of so many bits per second. Of the 1538
/// bytes that an Ethernet frame takes, with preamble and gap, 1448 are payload of TCP.
pub const fn wire_fs(bits_per_second: u64) -> u64 {
    let femtoseconds_per_byte = 8 * 1_000_000_000_000_000 / bits_per_second as u128;
    (femtoseconds_per_byte * 1538 / 1448) as u64
}

impl Costs {
    /// The costs built in for a class of links and hosts of so many cores.
    ///
    /// They are of the usual order and measured nowhere in particular: `kirsh tune` measures. Of two
    /// and four ranks on two cores it found 7 and 12 µs of latency, 0.6 and 2.4 µs a frame, 0.08 ns a
    /// byte to copy and 0.002 to 0.01 to fold; other processors take longer.
    pub const fn built_in(class: Class, cores: u32) -> Self {
        Costs {
            local: Link {
                latency_ps: 8_000_000,
                wire_fs: 0,
                frame_ps: 2_000_000,
                copy_fs: 100_000,
            },
            remote: class.link(),
            fold_fs: 100_000,
            fold_half_fs: 150_000,
            move_fs: 100_000,
            cores,
            stripes: class.stripes(),
        }
    }
}
