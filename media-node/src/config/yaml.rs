//! The only door to YAML: text in; a value and every mistake in it out.
//!
//! serde stops at the first mistake. So a value that cannot be read is noted with its path, taken out, and the rest is
//! read again, until nothing wrong is left. For this to end well every field of the type read must be optional.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use serde_yaml::Value;

/// Largest file that is read, bytes. A machines file of 4,000 machines is well below it.
pub const MAX_FILE: u64 = 1024 * 1024;
/// A file with more mistakes than this is not a configuration file.
const MAX_MISTAKES: usize = 100;

/// One thing wrong in a file: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Such as `relay.minPort` or `listeners[1].address`; empty for the file as a whole.
    pub path: String,
    pub what: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.path, self.what) }
    }
}

/// Everything wrong in a file, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub fn add(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.0.push(Mistake { path: path.into(), what: what.into() });
    }

    /// Whether something at `path`, inside it or around it is wrong already, so that its absence is no further mistake.
    pub fn mention(&self, path: &str) -> bool {
        self.0.iter().any(|m| is_within(path, &m.path) || is_within(&m.path, path))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn all(&self) -> &[Mistake] {
        &self.0
    }
}

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads as much of `text` as makes sense.
pub fn read<T: DeserializeOwned + Default>(text: &str) -> (T, Mistakes) {
    let mut mistakes = Mistakes::default();
    let mut tree: Value = match serde_yaml::from_str(text) {
        Ok(Value::Null) => Value::Mapping(serde_yaml::Mapping::new()),
        Ok(tree) => tree,
        Err(error) => {
            mistakes.add("", format!("this is not YAML: {error}"));
            return (T::default(), mistakes);
        }
    };
    take_out_odd_keys(&mut tree, "", &mut mistakes);
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&tree) {
            Ok(value) => return (value, mistakes),
            Err(error) => error,
        };
        let path = if error.path().iter().len() == 0 { String::new() } else { error.path().to_string() };
        mistakes.add(path, explain(&error.inner().to_string()));
        if mistakes.0.len() >= MAX_MISTAKES || !take_out(&mut tree, error.path()) {
            return (T::default(), mistakes);
        }
    }
}

/// Keys that are not strings (`1: x`, `on: x` in the eyes of other readers) have no path that serde could name.
fn take_out_odd_keys(value: &mut Value, path: &str, mistakes: &mut Mistakes) {
    match value {
        Value::Mapping(map) => {
            map.retain(|key, _| {
                let good = key.is_string();
                if !good {
                    let key = serde_yaml::to_string(key).unwrap_or_default();
                    mistakes.add(path, format!("the key {} is not a string: remove it", key.trim_end()));
                }
                good
            });
            for (key, inner) in map.iter_mut() {
                let key = key.as_str().unwrap_or_default();
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                take_out_odd_keys(inner, &path, mistakes);
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                take_out_odd_keys(item, &format!("{path}[{index}]"), mistakes);
            }
        }
        _ => {}
    }
}

/// Removes what stands at `path`; false if there is nothing there. An item of a list becomes null, so that the
/// numbers of the others stay true.
fn take_out(tree: &mut Value, path: &Path) -> bool {
    let mut segments = path.iter();
    let Some(last) = segments.next_back() else { return false };
    let mut at = tree;
    for segment in segments {
        let inner = match segment {
            Segment::Seq { index } => at.get_mut(*index),
            Segment::Map { key } | Segment::Enum { variant: key } => at.get_mut(key.as_str()),
            Segment::Unknown => None,
        };
        let Some(inner) = inner else { return false };
        at = inner;
    }
    match (last, at) {
        (Segment::Seq { index }, Value::Sequence(items)) => {
            let Some(item) = items.get_mut(*index) else { return false };
            !std::mem::replace(item, Value::Null).is_null()
        }
        (Segment::Map { key }, Value::Mapping(map)) => map.shift_remove(key.as_str()).is_some(),
        _ => false,
    }
}

/// serde's words, in the words of somebody who writes YAML.
fn explain(serde: &str) -> String {
    if let Some(rest) = serde.strip_prefix("unknown field ") {
        let keys = rest.split_once(", expected ").map_or("", |(_, keys)| keys);
        let keys: Vec<_> = keys.split('`').skip(1).step_by(2).collect();
        return match keys.as_slice() {
            [] => "there is no such key: remove it".to_owned(),
            [only] => format!("there is no such key: the only one here is {only}"),
            keys => format!("there is no such key: those here are {}", keys.join(", ")),
        };
    }
    if let Some((found, expected)) = serde.strip_prefix("invalid type: ").and_then(|s| s.split_once(", expected ")) {
        let found = match found {
            "sequence" => "a list",
            "map" => "a group of keys",
            "unit value" => "empty",
            other => other,
        };
        let expected = match expected {
            "a sequence" => "a list, such as [a, b]",
            "a string" => "text, in quotes if it looks like something else",
            "a boolean" => "true or false",
            group if group.starts_with("struct ") => "a group of keys",
            other => other,
        };
        return format!("this is {found}: write {expected}");
    }
    serde.to_owned()
}
