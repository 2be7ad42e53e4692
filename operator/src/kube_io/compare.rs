//! Does the cluster already hold what we want? Pure.
//!
//! What we write is a part of what we read back: the API server adds defaults, admission adds fields, others own their
//! own. So the desired object is compared as a subset of the live one, by the rules that server-side apply merges by:
//! objects field by field, lists that are maps by their key, other lists as a whole. A subset cannot see a field that we
//! *stopped* setting; for that, [`HASH`] on the live object tells what was applied last.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Annotation with a digest of the object as it was applied last.
pub const HASH: &str = "rtcfleet.dev/applied";

/// Lists that the API server merges by key, and which fields make the key.
const LIST_KEYS: [(&str, &[&str]); 13] = [
    ("conditions", &["type"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ownerReferences", &["uid"]),
    ("ports", &["containerPort", "port", "protocol"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Maps that have one owner as a whole: an entry that somebody added is a difference.
const ATOMIC_MAPS: [&str; 2] = ["matchLabels", "nodeSelector"];

/// Fields of core types that the API server leaves out when they are zero, false or empty. Elsewhere a missing field is a
/// difference: somebody took it away (`replicas: 0`, `automountServiceAccountToken: false`).
const LEFT_OUT_WHEN_ZERO: [&str; 14] = [
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "paused",
    "readOnly",
    "stdin",
    "stdinOnce",
    "subPath",
    "tty",
    "value",
];

/// Objects whose values are quantities, and fields that are one.
const QUANTITY_MAPS: [&str; 4] = ["capacity", "limits", "overhead", "requests"];
const QUANTITIES: [&str; 2] = ["sizeLimit", "storage"];

/// The path of the first field in which `live` is not as `desired`, such as `spec.template.spec.containers[0].image`;
/// `None` if nothing needs to be written.
pub fn differs(desired: &Value, live: &Value) -> Option<String> {
    compare(desired, Some(live), "", "").err().map(|path| path.trim_start_matches('.').to_owned())
}

fn compare(desired: &Value, live: Option<&Value>, field: &str, path: &str) -> Result<(), String> {
    let Some(live) = live.filter(|live| !live.is_null()) else {
        return if is_left_out(desired, field) { Ok(()) } else { Err(path.to_owned()) };
    };
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) if ATOMIC_MAPS.contains(&field) => same_if(desired == live, path),
        (Value::Object(desired), Value::Object(live)) if QUANTITY_MAPS.contains(&field) => {
            desired.iter().try_for_each(|(name, value)| {
                let same = live.get(name).is_some_and(|live| same_quantity(value, live));
                same_if(same, &format!("{path}.{name}"))
            })
        }
        (Value::Object(desired), Value::Object(live)) => {
            desired.iter().try_for_each(|(name, value)| compare(value, live.get(name), name, &format!("{path}.{name}")))
        }
        (Value::Array(desired), Value::Array(live)) => compare_lists(desired, live, field, path),
        (Value::Number(desired), Value::Number(live)) => same_if(desired.as_f64() == live.as_f64(), path),
        _ if QUANTITIES.contains(&field) => same_if(same_quantity(desired, live), path),
        _ => same_if(desired == live, path),
    }
}

fn compare_lists(desired: &[Value], live: &[Value], field: &str, path: &str) -> Result<(), String> {
    if let Some(keys) = list_keys(desired, field) {
        let live: BTreeMap<_, _> = live.iter().map(|item| (key_of(item, keys), item)).collect();
        return desired.iter().enumerate().try_for_each(|(at, item)| {
            let path = format!("{path}[{at}]");
            let found = live.get(&key_of(item, keys)).ok_or_else(|| path.clone())?;
            compare(item, Some(found), "", &path)
        });
    }
    if field == "finalizers" {
        return same_if(desired.iter().all(|item| live.contains(item)), path);
    }
    same_if(desired.len() == live.len(), path)?;
    desired
        .iter()
        .zip(live)
        .enumerate()
        .try_for_each(|(at, (desired, live))| compare(desired, Some(live), "", &format!("{path}[{at}]")))
}

fn list_keys(desired: &[Value], field: &str) -> Option<&'static [&'static str]> {
    let keyed = desired.iter().all(Value::is_object);
    LIST_KEYS.iter().find(|(name, _)| *name == field && keyed).map(|(_, keys)| *keys)
}

fn key_of(item: &Value, keys: &[&str]) -> Vec<String> {
    keys.iter()
        .map(|key| match item.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None if *key == "protocol" => "TCP".to_owned(),
            None => String::new(),
        })
        .collect()
}

/// Nothing desired, nothing there. `emptyDir: {}` is something: it is the choice of the volume's kind.
fn is_left_out(desired: &Value, field: &str) -> bool {
    match desired {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && field != "emptyDir",
        Value::Bool(value) => !value && LEFT_OUT_WHEN_ZERO.contains(&field),
        Value::Number(value) => value.as_f64() == Some(0.0) && LEFT_OUT_WHEN_ZERO.contains(&field),
        Value::String(value) => value.is_empty() && LEFT_OUT_WHEN_ZERO.contains(&field),
    }
}

fn same_if(same: bool, path: &str) -> Result<(), String> {
    if same { Ok(()) } else { Err(path.to_owned()) }
}

/// `1000m` and `1` are one quantity: the API server answers with its own spelling.
fn same_quantity(one: &Value, other: &Value) -> bool {
    if one == other {
        return true;
    }
    match (quantity(one), quantity(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// A Kubernetes quantity in thousandths of its unit. `None` for what needs a finer unit or does not fit: then only an
/// equal spelling is equal.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (thousandths, per) = match suffix {
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000_i128 << 50, 1),
        _ => exponent(suffix)?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(thousandths)?;
    let divisor = scale.checked_mul(per)?;
    (scaled % divisor == 0).then(|| scaled / divisor)
}

/// `e3`, `E-3`: thousandths, and what to divide by.
fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power < 0 { Some((1000, factor)) } else { Some((factor.checked_mul(1000)?, 1)) }
}

/// Two statuses say the same: all of both is compared, since the status has one owner, except the times at which
/// conditions changed, which follow from the rest.
pub fn same_status(desired: &Value, live: &Value) -> bool {
    significant(desired) == significant(live)
}

fn significant(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let kept: Map<_, _> = fields
                .iter()
                .filter(|(name, _)| *name != "lastTransitionTime")
                .filter_map(|(name, value)| Some((name.clone(), significant(value)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            Some(Value::Array(items.iter().map(|item| significant(item).unwrap_or(Value::Null)).collect()))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
