//! Sizes, rates, times and factors as people write them, and their bounds.
//!
//! Each has two readers: of text with a unit, and of a plain number in the base unit.

use crate::limits::CALL_BYTES_MAX;

/// Reads a number of bytes: `512`, `64K`, `1M`, `2G`, with powers of 1024 as nccl-tests has them.
///
/// # Errors
/// What may be written, or that no call is that large.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "give bytes, or a number with K, M or G behind it".to_owned();
    let (digits, unit) = match text.as_bytes().last().ok_or_else(wrong)? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        b'G' | b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    bytes_of(number.saturating_mul(unit))
}

/// A number of bytes that one call may have.
///
/// # Errors
/// That no call is that large.
pub fn bytes_of(number: u64) -> Result<u64, String> {
    if number <= CALL_BYTES_MAX { Ok(number) } else { Err("no call is that large".to_owned()) }
}

/// Reads a rate such as `10Gbit`, `2.5Gbit/s` or `940Mbit`, in powers of 1000.
///
/// # Errors
/// What may be written, or which rates can be simulated.
pub fn bits_per_second(text: &str) -> Result<u64, String> {
    const WRONG: &str = "give a rate such as 10Gbit or 940Mbit";
    let rate = text.strip_suffix("/s").unwrap_or(text).to_ascii_lowercase();
    let units = [("tbit", 1e12), ("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)];
    bits_per_second_of(with_unit(&rate, &units).ok_or(WRONG)?)
}

/// A rate in bits per second.
///
/// # Errors
/// Which rates can be simulated.
pub fn bits_per_second_of(number: f64) -> Result<u64, String> {
    // Slower than 1 Mbit/s is no network, and faster than this no NIC there is.
    if (1e6..=1e13).contains(&number) {
        Ok(number.round() as u64)
    } else {
        Err("rates from 1Mbit to 10Tbit can be simulated".to_owned())
    }
}

/// Reads a time such as `50us`, `1.5ms` or `800ns`.
///
/// # Errors
/// What may be written, or which latencies can be simulated.
pub fn picoseconds(text: &str) -> Result<u64, String> {
    const WRONG: &str = "give a time such as 50us, 1.5ms or 800ns";
    let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    picoseconds_of(with_unit(text, &units).ok_or(WRONG)?)
}

/// A latency in seconds, as picoseconds.
///
/// # Errors
/// Which latencies can be simulated.
pub fn picoseconds_of(seconds: f64) -> Result<u64, String> {
    if (0.0..=10.0).contains(&seconds) {
        // Rounded: 50e-6 is a little less than fifty microseconds.
        Ok((seconds * 1e12).round() as u64)
    } else {
        Err("latencies up to 10s can be simulated".to_owned())
    }
}

/// Reads a factor from 1 on, in thousandths.
///
/// # Errors
/// Which factors there are.
pub fn thousandths(text: &str) -> Result<u32, String> {
    thousandths_of(number(text).unwrap_or(f64::NAN))
}

/// A factor from 1 on, in thousandths.
///
/// # Errors
/// Which factors there are.
pub fn thousandths_of(factor: f64) -> Result<u32, String> {
    if (1.0..=1000.0).contains(&factor) {
        Ok((factor * 1e3).round() as u32)
    } else {
        Err("give a factor from 1 to 1000".to_owned())
    }
}

fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, unit) = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))?;
    Some(number(digits)? * unit)
}

/// A plain decimal number: no sign, no exponent.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_bounded() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("64K"), Ok(64 << 10));
        assert_eq!(bytes("3m"), Ok(3 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for wrong in ["", "K", "-1", "1.5M", "4X", "18446744073709551615", "262145G", "é"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes_of(CALL_BYTES_MAX), Ok(CALL_BYTES_MAX));
        assert!(bytes_of(CALL_BYTES_MAX + 1).is_err());
        assert!(bytes("17179869184G").is_err(), "no product wraps around");
    }

    #[test]
    fn rates_are_powers_of_1000_and_those_of_networks() {
        assert_eq!(bits_per_second("10Gbit"), Ok(10_000_000_000));
        assert_eq!(bits_per_second("2.5gbit/s"), Ok(2_500_000_000));
        assert_eq!(bits_per_second("940Mbit"), Ok(940_000_000));
        for wrong in ["10", "10G", "-1Gbit", "1e3Gbit", "Gbit", "10Kbit", "100Tbit", "NaNGbit"] {
            assert!(bits_per_second(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bits_per_second_of(2.5e9), bits_per_second("2.5Gbit"));
        for wrong in [0.0, -1e9, 9e5, 1.1e13, f64::NAN, f64::INFINITY] {
            assert!(bits_per_second_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_and_factors_are_read_with_their_bounds() {
        assert_eq!(picoseconds("50us"), Ok(50_000_000));
        assert_eq!(picoseconds("1.5ms"), Ok(1_500_000_000));
        assert_eq!(picoseconds("800ns"), Ok(800_000));
        assert_eq!(picoseconds("0us"), Ok(0));
        for wrong in ["50", "us", "-1us", "11s", "5min", ""] {
            assert!(picoseconds(wrong).is_err(), "{wrong}");
        }
        for us in 0..1000 {
            let exact = Ok(us * 1_000_000);
            assert_eq!(picoseconds(&format!("{us}us")), exact);
            assert_eq!(picoseconds_of(us as f64 * 1e-6), exact);
            assert_eq!(picoseconds_of(us as f64 / 1e6), exact);
        }
        for wrong in [-1e-9, 10.1, f64::NAN] {
            assert!(picoseconds_of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(thousandths("1.5"), Ok(1500));
        assert_eq!(thousandths_of(1.5), Ok(1500));
        for wrong in ["0.5", "x", "1001", ""] {
            assert!(thousandths(wrong).is_err(), "{wrong}");
        }
    }
}
