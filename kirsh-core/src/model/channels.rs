//! Into how many parts a call is cut, each carried out by a core of its own over sockets of its own.

use super::network::{Costs, Layout};
use crate::limits::CHANNELS_MAX;
use crate::plan::Params;
use crate::types::{Call, DataType};

/// Cores that a channel takes: one for the thread that drives it, and one for what the kernel does of
/// its traffic outside that thread.
const CORES_PER_CHANNEL: u32 = 2;

/// Bytes that a part has at least. A further channel costs a call some 60 µs: its thread is woken, and
/// the caller waits for the last of them. A core works 1 ms and more on 4 MiB, so that is not much of
/// what a second channel saves, half of the time.
const PART_BYTES_MIN: u64 = 4 << 20;

/// What decides how many channels calls have: the same on all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// So many, whatever the call; `None` leaves it to the costs.
    pub forced: Option<u16>,
    /// Cores that each rank may use, on the host where these are fewest.
    pub cores_per_rank: u32,
}

impl ChannelRule {
    /// One channel for every call.
    pub const ONE: ChannelRule = ChannelRule { forced: Some(1), cores_per_rank: 1 };

    /// As many as the costs, the cores and the size of a call suggest.
    pub const fn auto(cores_per_rank: u32) -> Self {
        ChannelRule { forced: None, cores_per_rank }
    }

    /// The channels of a call that can be cut: 1, 2, 4 or 8, or what is forced. More than one where a
    /// core takes longer over a byte, to send it, receive one and fold it, than this rank's share of
    /// the link does, and where there are the cores and the bytes for them.
    pub(super) fn choose(&self, layout: Layout, costs: &Costs, call: &Call) -> u16 {
        // Alone there is nobody to have a link with.
        if layout.world <= 1 {
            return 1;
        }
        if let Some(forced) = self.forced {
            return forced;
        }
        let bytes = Params::new(*call, layout.world, 1).elements().unwrap_or(u64::MAX);
        let by_size = bytes.saturating_mul(call.dtype.size() as u64) / PART_BYTES_MIN;
        let by_cores = u64::from(self.cores_per_rank / CORES_PER_CHANNEL);
        let by_link = core_fs(layout, costs, call).div_ceil(link_fs(layout, costs).max(1));
        let wanted = by_link.checked_next_power_of_two().unwrap_or(u64::MAX);
        let most = wanted.min(by_size).min(by_cores).min(CHANNELS_MAX.into());
        // The largest power of two among those.
        most.checked_ilog2().map_or(1, |log| 1 << log)
    }
}

/// What a core does for a byte that a rank passes on: sends it, receives the next and folds that.
fn core_fs(layout: Layout, costs: &Costs, call: &Call) -> u64 {
    let link = if layout.one_host() { costs.local } else { costs.remote };
    let fold_fs = match call.dtype {
        _ if !call.collective.reduces() => 0,
        DataType::Float16 | DataType::Bfloat16 => costs.fold_half_fs,
        _ => costs.fold_fs,
    };
    2 * link.copy_fs + fold_fs
}

/// What a rank's share of the link between hosts takes for a byte. Within a host there is none: there
/// memory is the limit, which lends a rank about what one core moves.
fn link_fs(layout: Layout, costs: &Costs) -> u64 {
    if layout.one_host() {
        costs.move_fs
    } else {
        costs.remote.wire_fs * u64::from(layout.ranks_per_host_max)
    }
}

impl Costs {
    /// As one of so many parts of a call finds them that run at the same time: they share links and
    /// cores.
    pub fn of_part(&self, parts: u16) -> Costs {
        let mut costs = *self;
        costs.remote.wire_fs = costs.remote.wire_fs.saturating_mul(parts.into());
        costs.cores = (costs.cores / u32::from(parts.max(1))).max(1);
        costs
    }
}
