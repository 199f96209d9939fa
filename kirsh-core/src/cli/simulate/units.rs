//! Rates, times and factors as people write them.

/// Reads a rate such as `10Gbit`, `2.5Gbit/s` or `940Mbit`, in powers of 1000.
pub(super) fn bits_per_second(text: &str) -> Result<u64, String> {
    const WRONG: &str = "give a rate such as 10Gbit or 940Mbit";
    let rate = text.strip_suffix("/s").unwrap_or(text).to_ascii_lowercase();
    let units = [("tbit", 1e12), ("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)];
    let value = with_unit(&rate, &units).ok_or(WRONG)?;
    // Slower than 1 Mbit/s is no network, and faster than this no NIC there is.
    if (1e6..=1e13).contains(&value) {
        Ok(value as u64)
    } else {
        Err("rates from 1Mbit to 10Tbit can be simulated".to_owned())
    }
}

/// Reads a time such as `50us`, `1.5ms` or `800ns`.
pub(super) fn picoseconds(text: &str) -> Result<u64, String> {
    const WRONG: &str = "give a time such as 50us, 1.5ms or 800ns";
    let units = [("ns", 1e3), ("us", 1e6), ("µs", 1e6), ("ms", 1e9), ("s", 1e12)];
    let value = with_unit(text, &units).ok_or(WRONG)?;
    if value <= 1e13 {
        Ok(value as u64)
    } else {
        Err("latencies up to 10s can be simulated".to_owned())
    }
}

/// Reads a factor from 1 on, in thousandths.
pub(super) fn thousandths(text: &str) -> Result<u32, String> {
    let value = number(text).filter(|factor| (1.0..=1000.0).contains(factor));
    value.map(|factor| (factor * 1e3).round() as u32).ok_or("give a factor from 1 to 1000".into())
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
    fn rates_are_powers_of_1000_and_those_of_networks() {
        assert_eq!(bits_per_second("10Gbit"), Ok(10_000_000_000));
        assert_eq!(bits_per_second("2.5gbit/s"), Ok(2_500_000_000));
        assert_eq!(bits_per_second("940Mbit"), Ok(940_000_000));
        for wrong in ["10", "10G", "-1Gbit", "1e3Gbit", "Gbit", "10Kbit", "100Tbit", "NaNGbit"] {
            assert!(bits_per_second(wrong).is_err(), "{wrong}");
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
        assert_eq!(thousandths("1.5"), Ok(1500));
        for wrong in ["0.5", "x", "1001", ""] {
            assert!(thousandths(wrong).is_err(), "{wrong}");
        }
    }
}
