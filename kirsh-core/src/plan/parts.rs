//! How a call is cut into the parts that channels carry out, each a call of its own.

use super::Params;
use crate::types::{Call, Collective, Wire};

/// Where parts begin, as far as arrays are long enough for that: on cache lines, as seen from the
/// array's beginning, so that no two threads write to one.
const ALIGNMENT: u64 = 64;

/// Whether calls of this collective can be cut: those whose counts every rank knows and that fold
/// or move each element alike. Scans could be, but are seldom long; a barrier has nothing to cut.
pub const fn can_be_cut(collective: Collective) -> bool {
    use Collective::*;
    matches!(
        collective,
        Broadcast | Allreduce | Reduce | Allgather | ReduceScatter | Gather | Scatter | Alltoall
    )
}

/// One channel's part of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What its plan is built from.
    pub params: Params,
    /// Its first element in each block of the call's arrays.
    pub begin: u64,
    /// Its elements in each block.
    pub count: u64,
}

impl Params {
    /// The part of a channel, of [`Params::channels`]; without elements where there are not enough
    /// for all. The first part is never shorter than another.
    pub fn part(&self, channel: u16) -> Part {
        let (begin, end) = (self.part_begin(channel), self.part_begin(channel + 1));
        let count = end - begin;
        let params = Params { call: Call { count, ..self.call }, channels: 1, ..self.clone() };
        Part { params, begin, count }
    }

    fn part_begin(&self, channel: u16) -> u64 {
        let (count, channels) = (self.call.count, u64::from(self.channels));
        let unit = self.part_unit();
        let units = u128::from(count.div_ceil(unit));
        let before = (units * u128::from(channel)).div_ceil(u128::from(channels.max(1)));
        // No more than there are elements, which 64 bits hold.
        u64::try_from(before * u128::from(unit)).unwrap_or(u64::MAX).min(count)
    }

    /// Elements that stay together: a cache line of them, or what is encoded together.
    fn part_unit(&self) -> u64 {
        let line = (ALIGNMENT / self.call.dtype.size() as u64).max(1);
        let unit = match self.call.wire {
            Wire::Plain => line,
            wire => line.max(wire.block()),
        };
        if self.call.count >= unit * u64::from(self.channels) { unit } else { 1 }
    }

    /// How many blocks, one for each rank, the two arrays of a rank that has both are made of.
    pub const fn blocks(&self) -> (u64, u64) {
        use Collective::*;
        let world = self.world as u64;
        match self.call.collective {
            Allgather | Gather => (1, world),
            ReduceScatter | Scatter => (world, 1),
            Alltoall => (world, world),
            _ => (1, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::CHANNELS_MAX;
    use crate::types::{Algorithm, DataType, ReduceOp};

    fn params(count: u64, channels: u16, dtype: DataType, wire: Wire) -> Params {
        let call = Call {
            collective: Collective::Allreduce,
            algorithm: Algorithm::Ring,
            dtype,
            op: ReduceOp::Sum,
            root: 0,
            count,
            wire,
        };
        Params { channels, ..Params::new(call, 3, 1 << 16) }
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_complete_and_the_first_is_never_the_shorter(
            count in prop_oneof![0..40u64, 0..100_000u64, Just(u64::MAX / 16)],
            channels in 1..=CHANNELS_MAX,
            dtype in prop::sample::select(DataType::ALL),
            wire in prop::sample::select(Wire::ALL),
        ) {
            let whole = params(count, channels, dtype, wire);
            let parts: Vec<Part> = (0..channels).map(|channel| whole.part(channel)).collect();
            let mut end = 0;
            for part in &parts {
                prop_assert_eq!(part.begin, end);
                prop_assert_eq!(part.params.call.count, part.count);
                prop_assert_eq!(part.params.channels, 1);
                prop_assert!(part.count <= parts[0].count);
                end += part.count;
            }
            prop_assert_eq!(end, count);
            prop_assert!(count == 0 || parts[0].count != 0);
        }

        #[test]
        fn parts_of_long_arrays_begin_on_cache_lines_and_on_what_is_encoded_together(
            count in 10_000..1_000_000u64,
            channels in 2..=CHANNELS_MAX,
            dtype in prop::sample::select(DataType::ALL),
        ) {
            for wire in Wire::ALL {
                let whole = params(count, channels, dtype, *wire);
                for channel in 0..channels {
                    let begin = whole.part(channel).begin;
                    prop_assert_eq!(begin * dtype.size() as u64 % ALIGNMENT, 0);
                    prop_assert!(*wire == Wire::Plain || begin.is_multiple_of(wire.block()));
                }
            }
        }
    }

    #[test]
    fn what_is_shorter_than_there_are_channels_goes_to_the_first_of_them() {
        let whole = params(2, 3, DataType::Float32, Wire::Plain);
        let counts = [0, 1, 2].map(|channel| whole.part(channel).count);
        assert_eq!(counts, [1, 1, 0]);
    }
}
