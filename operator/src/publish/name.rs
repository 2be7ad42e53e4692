//! The name of an answer.

use std::{fmt, str::FromStr};

/// Octets of `_rtc-fleet.`, which goes before a name for the record of its owner.
const LONGEST: usize = 253 - 11;
const LONGEST_LABEL: usize = 63;

/// A fully qualified host name, in lower case and without the dot at its end (RFC 1123 section 2.1, RFC 1035 section
/// 2.3.4). At most 242 octets. No wildcards: what one covers is not to be seen from an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is no name that can be published: write a host name of a-z, 0-9, -, _ and dots with at most {LONGEST} characters, such as turn.example.org"
)]
pub struct NoDnsName {
    text: String,
}

impl DnsName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `zone` or below it.
    pub fn is_in(&self, zone: &DnsName) -> bool {
        self.0.strip_suffix(&zone.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DnsName {
    type Err = NoDnsName;

    fn from_str(text: &str) -> Result<Self, NoDnsName> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_name = name.len() <= LONGEST && name.split('.').all(is_label);
        if is_name { Ok(Self(name)) } else { Err(NoDnsName { text: text.chars().take(300).collect() }) }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_in_one_spelling() {
        let name: DnsName = "TURN.Example.org.".parse().unwrap();
        assert_eq!(name.as_str(), "turn.example.org");
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_an_example() {
        let long = format!("{}.org", vec!["a".repeat(60); 4].join("."));
        let label = format!("{}.org", "a".repeat(64));
        for text in ["", ".", "*.example.org", "a..org", "a b.org", "-a.org", "a-.org", "ä.org", &long, &label] {
            let error = text.parse::<DnsName>().unwrap_err().to_string();
            assert!(error.contains("such as turn.example.org"), "{text}: {error}");
        }
    }

    #[test]
    fn a_zone_holds_itself_and_what_is_below_but_no_lookalike() {
        let zone: DnsName = "example.org".parse().unwrap();
        for (name, is_in) in [("example.org", true), ("turn.example.org", true), ("turnexample.org", false)] {
            assert_eq!(name.parse::<DnsName>().unwrap().is_in(&zone), is_in, "{name}");
        }
    }
}
