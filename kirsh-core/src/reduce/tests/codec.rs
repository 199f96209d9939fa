//! Wire formats against an oracle, against each other, and against the errors that they promise.

use super::*;
use crate::types::Wire;

pub(super) const FORMATS: [Wire; 3] = [Wire::Bf16, Wire::F16, Wire::Int8];

pub(super) fn codecs(wire: Wire) -> [Codec; 2] {
    [Codec::choose(wire).unwrap(), Codec::portable(wire).unwrap()]
}

/// Lengths around those of vectors and blocks.
pub(super) fn lengths() -> impl Iterator<Item = usize> {
    let near = [255, 256, 257, 300, 511, 512, 513, 1023, 1024, 1025, 1300];
    let long = if cfg!(miri) { 0 } else { near.len() };
    (0..if cfg!(miri) { 20 } else { 70 }).chain(near.into_iter().take(long))
}

/// Arrays of one kind of number each, and one of all kinds mixed.
pub(super) fn arrays(count: usize, elements: &mut Elements) -> Vec<Vec<f32>> {
    let mut of = |kind: &dyn Fn(u64) -> f32| (0..count).map(|_| kind(elements.next())).collect();
    let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let finite = |bits: u64| Some(f32::from_bits(bits as u32)).filter(|value| value.is_finite());
    let any = |bits: u64| finite(bits).unwrap_or(f32::MAX);
    let subnormal = |bits: u64| f32::from_bits(bits as u32 & 0x807f_ffff);
    let special = special(Float32);
    let mut all = vec![
        of(&unit),
        of(&any),
        of(&subnormal),
        of(&|bits| if bits.is_multiple_of(2) { 0.0 } else { -0.0 }),
        of(&|bits| if bits.is_multiple_of(2) { f32::MAX } else { f32::MIN }),
        // Multiples and middles of a scale of 1.
        of(&|bits| if bits.is_multiple_of(9) { 127.0 } else { (bits % 509) as f32 / 2.0 - 127.0 }),
    ];
    let mixed = of(&|bits| f32::from_bits(special[bits as usize % special.len()] as u32));
    // One element in some hundred is none that is finite.
    let rare = of(&|bits| match bits % 300 {
        0 => f32::NAN,
        1 => f32::NEG_INFINITY,
        2 => f32::INFINITY,
        _ => unit(bits),
    });
    all.extend([mixed, rare]);
    all
}

pub(super) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

pub(super) fn values_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|raw| f32::from_ne_bytes(*raw)).collect()
}

pub(super) fn encode(codec: Codec, source: &[u8], offsets: [usize; 2]) -> Vec<u8> {
    let len = codec.wire().encoded(source.len() as u64) as usize;
    let mut from = Place::new(offsets[0], source);
    let mut to = Place::new(offsets[1], &vec![0x77; len]);
    // SAFETY: two arrays, the second as long as the first's encoding.
    unsafe { codec.encode(from.ptr(), to.ptr(), source.len() / 4) };
    assert_eq!(from.contents(), source, "wrote into the source");
    to.contents().to_vec()
}

pub(super) fn decode(
    codec: Codec,
    encoding: &[u8],
    first: usize,
    count: usize,
    offset: usize,
) -> Vec<u8> {
    let mut from = Place::new(offset, encoding);
    let mut to = Place::new(64 - offset, &vec![0x77; count * 4]);
    // SAFETY: two arrays; whoever calls this has encoded `first + count` elements.
    unsafe { codec.decode(from.ptr(), to.ptr(), first, count) };
    assert_eq!(from.contents(), encoding, "wrote into the encoding");
    to.contents().to_vec()
}

/// What an encoding must be, one element at a time.
fn oracle_encoding(wire: Wire, values: &[f32]) -> Vec<u8> {
    let canonical = |value: f32| if value.is_nan() { f32::NAN } else { value };
    match wire {
        Wire::Plain => bytes_of(values),
        Wire::Bf16 => values
            .iter()
            .flat_map(|value| match value.is_nan() {
                true => 0x7fc0u16.to_le_bytes(),
                false => half::bf16::from_f32(*value).to_le_bytes(),
            })
            .collect(),
        Wire::F16 => values
            .iter()
            .flat_map(|value| half::f16::from_f32(canonical(*value)).to_le_bytes())
            .collect(),
        Wire::Int8 => values.chunks(256).flat_map(oracle_block).collect(),
    }
}

fn oracle_block(values: &[f32]) -> Vec<u8> {
    let finite: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let odd = finite.len() < values.len();
    let steps = if odd { 126.0 } else { 127.0 };
    let largest = finite.iter().fold(0.0f64, |largest, value| largest.max(f64::from(value.abs())));
    let mut scale = ((largest / steps) as f32).max(2f32.powi(-126));
    while f64::from(scale) * steps > f64::from(f32::MAX) {
        scale = f32::from_bits(scale.to_bits() - 1);
    }
    let inverse = (1.0 / f64::from(scale)) as f32;
    let code = |value: &f32| match *value {
        value if value.is_nan() => -128,
        f32::INFINITY => 127,
        f32::NEG_INFINITY => -127,
        value => ((f64::from(value) * f64::from(inverse)) as f32).round_ties_even() as i8,
    };
    let mut block = if odd { -scale } else { scale }.to_le_bytes().to_vec();
    block.extend(values.iter().map(|value| code(value) as u8));
    block
}

#[test]
fn encodings_of_every_length_and_alignment_match_the_oracle() {
    let mut elements = Elements { state: 0x1234_5678_9abc_def1 };
    for wire in FORMATS {
        for count in lengths() {
            for values in arrays(count, &mut elements) {
                let expected = oracle_encoding(wire, &values);
                assert_eq!(expected.len() as u64, wire.encoded(4 * count as u64));
                for codec in codecs(wire) {
                    let offsets = [elements.next() as usize % 64, elements.next() as usize % 64];
                    let found = encode(codec, &bytes_of(&values), offsets);
                    assert_eq!(found, expected, "{wire} of {values:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_decoded_differs_by_no_more_than_the_format_promises() {
    let mut elements = Elements { state: 0xfeed_5678_9abc_def1 };
    for wire in FORMATS {
        for count in lengths() {
            for values in arrays(count, &mut elements) {
                for codec in codecs(wire) {
                    let encoding = encode(codec, &bytes_of(&values), [0, 0]);
                    let found = values_of(&decode(codec, &encoding, 0, count, 3));
                    for (at, (value, found)) in values.iter().zip(&found).enumerate() {
                        let block = &values[at / 256 * 256..count.min(at / 256 * 256 + 256)];
                        close(wire, *value, *found, block);
                    }
                }
            }
        }
    }
}

fn close(wire: Wire, value: f32, found: f32, block: &[f32]) {
    let (wide, seen) = (f64::from(value), f64::from(found));
    if value.is_nan() {
        return assert_eq!(found.to_bits(), 0x7fc0_0000, "{wire}");
    }
    if value.is_infinite() {
        return assert_eq!(found, value, "{wire}");
    }
    let largest = block.iter().filter(|value| value.is_finite());
    let largest = largest.fold(0.0f64, |largest, value| largest.max(f64::from(value.abs())));
    let odd = block.iter().any(|value| !value.is_finite());
    let bound = match wire {
        Wire::Plain => 0.0,
        Wire::Bf16 => (wide.abs() * 2f64.powi(-8)).max(2f64.powi(-134)),
        Wire::F16 => (wide.abs() * 2f64.powi(-11)).max(2f64.powi(-25)),
        Wire::Int8 => (largest / if odd { 251.0 } else { 253.0 }).max(2f64.powi(-126)),
    };
    let overflows = match wire {
        Wire::Bf16 => wide.abs() >= (2.0 - 2f64.powi(-8)) * 2f64.powi(127),
        Wire::F16 => wide.abs() >= 65_520.0,
        Wire::Plain | Wire::Int8 => false,
    };
    if overflows {
        return assert_eq!(found, f32::INFINITY.copysign(value), "{wire} of {value:e}");
    }
    assert!((seen - wide).abs() <= bound, "{wire} makes {found:e} of {value:e}, block {block:?}");
}

#[test]
fn a_part_of_an_encoding_decodes_as_the_whole_does() {
    let mut elements = Elements { state: 77 };
    let count = if cfg!(miri) { 30 } else { 800 };
    for wire in FORMATS {
        for values in arrays(count, &mut elements) {
            for codec in codecs(wire) {
                let encoding = encode(codec, &bytes_of(&values), [1, 2]);
                let whole = decode(codec, &encoding, 0, count, 0);
                for _ in 0..40 {
                    let first = elements.next() as usize % count;
                    let some = elements.next() as usize % (count - first + 1);
                    let found = decode(codec, &encoding, first, some, 5);
                    assert!(found == whole[4 * first..4 * (first + some)], "{wire} {first} {some}");
                }
            }
        }
    }
}

#[test]
fn bytes_that_nobody_encoded_decode_alike_everywhere_and_no_nan_but_the_one_comes_out() {
    let mut elements = Elements { state: 99 };
    for wire in FORMATS {
        for count in lengths() {
            let len = wire.encoded(4 * count as u64) as usize;
            let bytes: Vec<u8> = (0..len).map(|_| elements.next() as u8).collect();
            let [fast, portable] = codecs(wire).map(|codec| decode(codec, &bytes, 0, count, 1));
            assert_eq!(fast, portable, "{wire}");
            for value in values_of(&fast).iter().filter(|value| value.is_nan()) {
                assert_eq!(value.to_bits(), 0x7fc0_0000, "{wire}");
            }
        }
    }
}

#[test]
fn a_fold_of_what_came_encoded_is_a_decoding_and_a_fold() {
    let mut elements = Elements { state: 5 };
    let count = if cfg!(miri) { 40 } else { 2_500 };
    let able = [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::PremulSum, ReduceOp::Min, ReduceOp::Max];
    for (wire, op) in FORMATS.iter().flat_map(|wire| able.map(|op| (*wire, op))) {
        for values in arrays(count, &mut elements) {
            let with = elements.bytes(Float32, count);
            for codec in codecs(wire) {
                let kernel = Kernel::choose(Float32, op).unwrap();
                let encoding = encode(codec, &bytes_of(&values), [0, 0]);
                let received = decode(codec, &encoding, 0, count, 0);
                let at = Offsets { with: 0, received: 0, into: 0 };
                let finish = (Finish::Average, 3);
                let expected = fold_apart(kernel, (&with, &received), at, finish);
                let first = elements.next() as usize % count;
                let run = (first, count - first);
                let mut arrays = [with.clone(), encoding.clone(), vec![0; 4 * count]];
                let [with, encoding, into] = arrays.each_mut().map(|array| array.as_mut_ptr());
                let (from, to) = (with.wrapping_add(4 * first), into.wrapping_add(4 * first));
                // SAFETY: three arrays of `count` elements, one of them encoded.
                unsafe { codec.fold(&kernel, from, encoding, to, run, finish.0, finish.1) };
                assert!(arrays[2][4 * first..] == expected[4 * first..], "{wire} {op}");
                // In place.
                // SAFETY: as above; `with` may be `into`.
                unsafe { codec.fold(&kernel, from, encoding, from, run, finish.0, finish.1) };
                assert!(arrays[0][4 * first..] == expected[4 * first..], "{wire} {op}");
            }
        }
    }
}

#[test]
fn a_format_that_encodes_nothing_has_no_codec() {
    assert!(Codec::choose(Wire::Plain).is_none() && Codec::portable(Wire::Plain).is_none());
}

#[test]
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn a_thread_that_flushes_subnormals_or_rounds_down_encodes_and_decodes_the_same() {
    let mut elements = Elements { state: 31 };
    // Flushing of results and operands, and rounding towards −∞.
    const SETTINGS: [u32; 2] = [0x1f80 | 0x8040, 0x1f80 | 0x2000];
    for wire in FORMATS {
        for values in arrays(600, &mut elements) {
            let expected = oracle_encoding(wire, &values);
            for codec in codecs(wire) {
                let plain = decode(codec, &expected, 0, 600, 0);
                for settings in SETTINGS {
                    let before = environment::control();
                    environment::set_control(settings);
                    let found = encode(codec, &bytes_of(&values), [0, 0]);
                    let decoded = decode(codec, &found, 0, 600, 0);
                    environment::set_control(before);
                    assert!(found == expected && decoded == plain, "{wire}, {settings:#x}");
                }
            }
        }
    }
}
