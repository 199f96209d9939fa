//! Error feedback against what it means, an element at a time.

use super::codec::{FORMATS, arrays, bytes_of, codecs, decode, encode, lengths, values_of};
use super::*;
use crate::types::Wire;

#[test]
fn what_a_format_takes_from_the_values_and_the_rest_of_before_is_kept() {
    let mut elements = Elements { state: 0x5eed_5678_9abc_def1 };
    for wire in FORMATS {
        for count in lengths().chain([if cfg!(miri) { 1 } else { 3000 }]) {
            let before: Vec<f32> = (0..count).map(|i| (i % 7) as f32 / 1000.0).collect();
            for given in arrays(count, &mut elements) {
                for codec in codecs(wire) {
                    let wanted: Vec<f32> = given.iter().zip(&before).map(|(a, b)| a + b).collect();
                    let encoding = encode(codec, &bytes_of(&wanted), [3, 5]);
                    let sent = values_of(&decode(codec, &encoding, 0, count, 7));
                    let (mut values, mut lost) = (given.clone(), before.clone());
                    codec.feed_back(&mut values, &mut lost);
                    assert_eq!(bytes_of(&values), bytes_of(&sent), "{wire} of {given:?}");
                    for ((lost, wanted), sent) in lost.iter().zip(&wanted).zip(&sent) {
                        let rest = wanted - sent;
                        let kept = if rest.is_finite() { rest } else { 0.0 };
                        assert_eq!(
                            lost.to_bits(),
                            kept.to_bits(),
                            "{wire}: {wanted} went as {sent}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_too_small_for_its_block_arrives_in_the_end() {
    for codec in codecs(Wire::Int8) {
        let (mut lost, mut arrived) = ([0.0f32; 2], 0.0);
        for _ in 0..64 {
            let mut values = [1000.3, 1.0];
            codec.feed_back(&mut values, &mut lost);
            arrived += values[1];
        }
        assert!((arrived - 64.0).abs() < 8.0, "{arrived} of 64 arrived");
    }
}
