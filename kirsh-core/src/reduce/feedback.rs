//! Error feedback: what rounding takes from an array is kept, and added to the next one.
//!
//! F. Seide et al., "1-bit stochastic gradient descent", Interspeech 2014; S. P. Karimireddy et al.,
//! "Error feedback fixes SignSGD and other gradient compression schemes", ICML 2019.

use std::mem::MaybeUninit;

use super::codec::Codec;

/// Elements of a tile: whole blocks of every format, and with their encoding in the first cache.
const TILE: usize = 1024;

/// A tile's encoding fits, whatever the format.
const TILE_BYTES: usize = TILE * size_of::<f32>();

impl Codec {
    /// Adds `lost` to `values`, makes of them what they are after travelling in the format, and
    /// leaves in `lost` what that took from them: in one pass over both.
    ///
    /// What infinities and NaN lose is 0: they say that a step is lost, and are not to spoil the next.
    ///
    /// # Panics
    /// Where the two are not of one length.
    pub fn feed_back(&self, values: &mut [f32], lost: &mut [f32]) {
        assert_eq!(values.len(), lost.len(), "what is lost belongs to other values");
        for (values, lost) in values.chunks_mut(TILE).zip(lost.chunks_mut(TILE)) {
            for (value, lost) in values.iter_mut().zip(&*lost) {
                *value += lost;
            }
            let mut sent = [0f32; TILE];
            self.travel(values, &mut sent);
            for ((value, lost), sent) in values.iter_mut().zip(lost).zip(sent) {
                let rest = *value - sent;
                *lost = if rest.is_finite() { rest } else { 0.0 };
                *value = sent;
            }
        }
    }

    /// What these elements, a tile of them at most, are when they arrive.
    fn travel(&self, values: &[f32], sent: &mut [f32; TILE]) {
        let mut encoding = MaybeUninit::<[u8; TILE_BYTES]>::uninit();
        let encoding = encoding.as_mut_ptr().cast::<u8>();
        let count = values.len().min(TILE);
        // SAFETY: `values` has at least `count` elements, and the encoding of a tile fits in the room.
        unsafe { self.encode(values.as_ptr().cast(), encoding, count) };
        // SAFETY: `count` elements were just encoded there, and `sent` has room for a tile.
        unsafe { self.decode(encoding, sent.as_mut_ptr().cast(), 0, count) };
    }
}
