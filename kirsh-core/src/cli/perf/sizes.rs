//! Sizes as people write them, and the sizes that a measurement goes through.

use crate::limits::CALL_BYTES_MAX;

/// Reads a number of bytes: `512`, `64K`, `1M`, `2G`, with powers of 1024 as nccl-tests has them.
pub(in crate::cli) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || "give bytes, or a number with K, M or G behind it".to_owned();
    let (digits, unit) = match text.as_bytes().last().ok_or_else(wrong)? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        b'G' | b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes <= CALL_BYTES_MAX);
    bytes.ok_or_else(|| "no call is that large".to_owned())
}

/// The counts of elements to time, each size `factor` times the one before. A size that is no whole
/// number of elements is rounded down, but not to nothing: only `bytes_min` 0 asks for that.
pub(super) fn counts(
    bytes_min: u64,
    bytes_max: u64,
    factor: u64,
    element_size: usize,
) -> Vec<usize> {
    let element = element_size as u64;
    let mut counts = Vec::new();
    if bytes_min == 0 {
        counts.push(0);
    }
    let mut bytes = bytes_min.max(element);
    while bytes <= bytes_max.max(element) {
        counts.push((bytes / element) as usize);
        let Some(next) = bytes.checked_mul(factor) else { break };
        bytes = next;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_bounded() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("512"), Ok(512));
        assert_eq!(parse("64K"), Ok(64 << 10));
        assert_eq!(parse("3m"), Ok(3 << 20));
        assert_eq!(parse("2G"), Ok(2 << 30));
        for wrong in ["", "K", "-1", "1.5M", "4X", "18446744073709551615", "262145G", "é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_grow_by_the_factor_and_end_at_the_largest_size() {
        assert_eq!(counts(4, 64, 2, 4), [1, 2, 4, 8, 16]);
        assert_eq!(counts(4, 63, 4, 4), [1, 4]);
        assert_eq!(counts(1000, 1000, 2, 8), [125]);
        assert_eq!(counts(10, 10, 2, 4), [2], "10 bytes hold two whole elements");
        assert_eq!(counts(0, 8, 2, 4), [0, 1, 2]);
        assert_eq!(counts(1, 2, 2, 8), [1], "one element at least");
        assert_eq!(counts(u64::MAX / 2, u64::MAX, 2, 1).len(), 2);
    }
}
