//! Which of the sockets between two ranks each frame travels on. P-60

use crate::limits::{RAILS_MAX, STRIPES_MAX};

/// Frames after which a pattern repeats, at most. With so many a rail's share is within 3 % of the whole of
/// what it should be, and one that should have less than a share is not worth its sockets.
pub const PATTERN_MAX: usize = 16;

/// How the frames between two hosts are dealt out to rails, which are networks that join the same hosts,
/// and to the stripes of each rail: the sockets between two ranks. Stripe `s` is of rail `s % rails`.
///
/// Both ends of a pair count its frames alike, and so agree on the stripe of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    rail_of: [u8; PATTERN_MAX],
    len: u8,
    rails: u8,
}

impl Pattern {
    /// All frames by one rail.
    pub const EVEN: Pattern = Pattern { rail_of: [0; PATTERN_MAX], len: 1, rails: 1 };

    /// Deals frames out by weight, as evenly over time as can be: the rail that is furthest behind its
    /// share has the next. The first weight is the largest, so that the first frame goes by the first rail.
    /// `None` for no weights or too many, for a larger one behind the first, and for any that gets no frame.
    pub fn of_weights(weights: &[u32]) -> Option<Pattern> {
        let first = *weights.first()?;
        let fits = weights.iter().all(|weight| (1..=first).contains(weight));
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        if weights.len() > RAILS_MAX || !fits || sum > PATTERN_MAX as u64 {
            return None;
        }
        let mut pattern = Pattern { len: sum as u8, rails: weights.len() as u8, ..Pattern::EVEN };
        let mut had = [0u64; RAILS_MAX];
        for (at, place) in (0u64..sum).zip(&mut pattern.rail_of) {
            // What a rail should have had with this frame, less what it had; in parts of a frame.
            let behind = |rail: &usize| {
                let due = i64::from(weights[*rail]) * (at as i64 + 1);
                let had = (had[*rail] * sum) as i64;
                (due - had, -(*rail as i64))
            };
            let next = (0..weights.len()).max_by_key(behind)?;
            had[next] += 1;
            *place = next as u8;
        }
        Some(pattern)
    }

    /// How many rails there are.
    pub const fn rails(&self) -> u8 {
        self.rails
    }

    /// The rails of one round of frames.
    pub fn round(&self) -> &[u8] {
        &self.rail_of[..usize::from(self.len)]
    }

    /// How many stripes there are with so many to a rail.
    pub const fn stripes(&self, of_rail: u8) -> u8 {
        let most = STRIPES_MAX / self.rails;
        let of_rail = if of_rail < most { of_rail } else { most };
        self.rails * if of_rail == 0 { 1 } else { of_rail }
    }

    /// The rail of a stripe.
    pub const fn rail(&self, stripe: u8) -> u8 {
        stripe % self.rails
    }

    /// The stripe of a pair's frame with this number, of so many stripes. With too few for the rails
    /// frames go to them in turn.
    #[inline]
    pub fn stripe(&self, frame: u32, stripes: u8) -> u8 {
        if stripes <= 1 {
            return 0;
        }
        let of_rail = stripes / self.rails;
        if of_rail == 0 {
            return (frame % u32::from(stripes)) as u8;
        }
        let len = u32::from(self.len);
        let rail = self.rail_of[(frame % len) as usize];
        rail + self.rails * (frame / len % u32::from(of_rail)) as u8
    }
}

const _: () = assert!(RAILS_MAX <= STRIPES_MAX as usize && RAILS_MAX <= PATTERN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    // P-60
    #[test]
    fn without_weights_frames_go_to_the_stripes_in_turn() {
        let stripes = |stripes| (0..5).map(move |frame| Pattern::EVEN.stripe(frame, stripes));
        assert!(stripes(1).eq([0; 5]) && stripes(0).eq([0; 5]));
        assert!(stripes(3).eq([0, 1, 2, 0, 1]));
        assert_eq!([1, 3, 8, 200].map(|of_rail| Pattern::EVEN.stripes(of_rail)), [1, 3, 8, 8]);
    }

    // P-60
    #[test]
    fn rails_have_frames_by_their_weights_and_spread_over_the_round() {
        let pattern = Pattern::of_weights(&[3, 1]).unwrap();
        assert_eq!(pattern.round(), [0, 0, 1, 0]);
        assert!((0..6).map(|frame| pattern.stripe(frame, 2)).eq([0, 0, 1, 0, 0, 0]));
        // Two sockets to a rail: each round goes by others.
        assert_eq!(pattern.stripes(2), 4);
        assert!((0..8).map(|frame| pattern.stripe(frame, 4)).eq([0, 0, 1, 0, 2, 2, 3, 2]));
        assert_eq!([0, 1, 2, 3].map(|stripe| pattern.rail(stripe)), [0, 1, 0, 1]);
        assert_eq!(Pattern::of_weights(&[1, 1]).unwrap().round(), [0, 1]);
        assert_eq!(Pattern::of_weights(&[1]), Some(Pattern::EVEN));
        for weights in [&[][..], &[1, 2], &[1, 0], &[16, 1], &[1; RAILS_MAX + 1]] {
            assert_eq!(Pattern::of_weights(weights), None, "{weights:?}");
        }
        for weights in [&[10, 6][..], &[8, 5, 3], &[7, 2, 1, 1]] {
            let pattern = Pattern::of_weights(weights).unwrap();
            assert_eq!(pattern.stripe(0, pattern.stripes(1)), 0, "the first frame goes first");
            for (rail, weight) in (0u8..).zip(weights) {
                let frames = pattern.round().iter().filter(|of| **of == rail).count();
                assert_eq!(frames, *weight as usize, "{weights:?}");
            }
        }
    }
}
