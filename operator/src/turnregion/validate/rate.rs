//! Numbers a second with a decimal suffix, such as `4M`: what users write for bandwidths and packet rates.

use std::fmt;

const SUFFIXES: [(char, u64); 4] = [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('k', 1_000)];

/// Something a second, at least one. Bits or packets: the field says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// Digits, perhaps a point and more digits, perhaps `k`, `M`, `G` or `T`. Fractions of one are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(*suffix)?, *factor)));
        let (number, factor) = suffix.unwrap_or((text, 1));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let factor = u128::from(factor);
        let part = digits(fraction)?.checked_mul(factor)? / 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let value = digits(whole)?.checked_mul(factor)?.checked_add(part)?;
        u64::try_from(value).ok().filter(|value| *value > 0).map(Self)
    }
}

fn digits(text: &str) -> Option<u128> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// One spelling for each value (`1500k`, whether 1.5M or 1500000 was written), so that another spelling exchanges no node.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SUFFIXES.iter().find(|(_, factor)| self.0.is_multiple_of(*factor)) {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_exactly_and_written_in_one_way() {
        for (written, value, again) in [
            ("4M", 4_000_000, "4M"),
            ("1.5M", 1_500_000, "1500k"),
            ("1500k", 1_500_000, "1500k"),
            ("10000M", 10_000_000_000, "10G"),
            ("0.25G", 250_000_000, "250M"),
            ("1234567", 1_234_567, "1234567"),
            ("1.2345k", 1_234, "1234"),
        ] {
            let rate = Rate::parse(written).unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (value, again), "{written}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in
            ["", "0", "0.0G", "0.9", "k", "-4M", "+4M", "4 M", "4Mi", "4m", "1.", ".5M", "1.2.3", "99999999999T"]
        {
            assert_eq!(Rate::parse(text), None, "{text:?}");
        }
        assert_eq!(Rate::parse(&"9".repeat(20)), None);
        assert_eq!(Rate::parse(&format!("1.{}", "0".repeat(60))), None);
    }
}
