//! The sizes that a measurement goes through.

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
