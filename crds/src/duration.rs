//! Durations as people write them in YAML: `30s`, `10m`, `1h30m`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Hours, minutes and seconds, in that order, each at most once: `45s`, `10m`, `1h30m`. At most 20 characters.
///
/// Kept as written, so that a read object is written back unchanged; [`Duration::parse`] gives the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

/// A text that is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write hours, minutes and seconds, such as 45s, 10m or 1h30m")]
pub struct NotADuration(pub String);

impl Duration {
    /// What the API server checks before we see it.
    pub const PATTERN: &'static str = "^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$";

    /// The value. An empty text, a missing unit or units in another order are refused.
    pub fn parse(&self) -> Result<std::time::Duration, NotADuration> {
        let refuse = || NotADuration(self.0.clone());
        let mut rest = self.0.as_str();
        let mut seconds = 0_u64;
        for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            let number: u64 = number.parse().map_err(|_| refuse())?;
            seconds += number.min(1_000_000) * factor;
            rest = after;
        }
        if !rest.is_empty() || self.0.is_empty() {
            return Err(refuse());
        }
        Ok(std::time::Duration::from_secs(seconds))
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_of(Self::PATTERN)
    }
}

fn text_of(pattern: &str) -> Schema {
    json_schema!({"type": "string", "minLength": 2, "maxLength": 20, "pattern": pattern})
}

/// A [`Duration`], or milliseconds: `1s`, `250ms`. For what happens more than once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(pub String);

impl Interval {
    /// What the API server checks before we see it.
    pub const PATTERN: &'static str = "^(([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?|[0-9]{1,6}ms)$";

    /// The value, refused as a [`Duration`] is.
    pub fn parse(&self) -> Result<std::time::Duration, NotADuration> {
        match self.0.strip_suffix("ms").map(str::parse) {
            Some(Ok(millis)) => Ok(std::time::Duration::from_millis(millis)),
            _ => Duration(self.0.clone()).parse(),
        }
    }
}

impl From<&str> for Interval {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_of(Self::PATTERN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        for (text, seconds) in [("45s", 45), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1h0m5s", 3605), ("0s", 0)] {
            assert_eq!(Duration::from(text).parse(), Ok(std::time::Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn an_interval_is_a_duration_or_milliseconds() {
        for (text, millis) in [("1s", 1000), ("1m30s", 90_000), ("250ms", 250), ("0ms", 0)] {
            assert_eq!(Interval::from(text).parse(), Ok(std::time::Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1s250ms", "-250ms", "ms", "0.5s"] {
            assert!(Interval::from(text).parse().is_err(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "5", "5 m", "1m1h", "5ms", "-5s", "1.5h", "s", "1h1h", "h"] {
            let error = Duration::from(text).parse().expect_err(text).to_string();
            assert!(error.contains("such as 45s, 10m or 1h30m"), "{error}");
        }
    }
}
