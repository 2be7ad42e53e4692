//! Decisions as people read them. Pure.

use serde_json::Value;

use crate::cli::Target;

/// The oldest first, as a log: what was decided, when, why, and from what.
pub(super) fn render(target: &Target, namespace: &str, decisions: &[Value]) -> String {
    let Target { kind, name } = target;
    if decisions.is_empty() {
        return format!(
            "{kind} {namespace}/{name}: no decision is kept.\n\
             Decisions are kept since the leader started. Does the resource exist? kubectl get {} -n {namespace} {name}\n",
            kind.to_lowercase()
        );
    }
    let mut text = format!("{kind} {namespace}/{name}\n");
    for decision in decisions {
        text.push('\n');
        text.push_str(&one(decision));
    }
    text
}

fn one(decision: &Value) -> String {
    let field = |name: &str| decision.get(name).and_then(Value::as_str).unwrap_or("?");
    let slot = decision.get("slot").and_then(Value::as_i64).map(|slot| format!(" slot {slot}")).unwrap_or_default();
    let times = decision.get("times").and_then(Value::as_u64).unwrap_or(1);
    let again =
        if times > 1 { format!(" (made {times} times, last {})", seconds(field("last"))) } else { String::new() };
    let mut text = format!(
        "{}  {}{slot}: {}{again}\n  {}\n",
        seconds(field("at")),
        field("kind"),
        field("reason"),
        field("message")
    );
    for line in inputs(decision.get("inputs").unwrap_or(&Value::Null)) {
        text.push_str("    ");
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// A time without its fraction.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// One line a field, nested ones with their path, lists of plain values on one line.
fn inputs(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    lines
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&below(name), value, lines)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, lines);
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            lines.push(format!("{path}: {}", if items.is_empty() { "none".into() } else { items.join(", ") }));
        }
        value if path.is_empty() => lines.push(plain(value)),
        value => lines.push(format!("{path}: {}", plain(value))),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target() -> Target {
        Target { kind: "TurnRegion", name: "centralindia".into() }
    }

    #[test]
    fn a_decision_reads_like_a_log_with_its_inputs_below() {
        let decisions = [json!({
            "kind": "drain", "reason": "ScaledDown", "slot": 2, "message": "slot 2 drains: it has the fewest sessions",
            "inputs": {"desired": 2, "sessions": {"0": 4, "2": 1}, "held": [], "ready": ["0", "1"], "events": [{"n": 1}]},
            "at": "2026-01-01T12:00:00.123456789Z", "times": 3, "last": "2026-01-01T12:04:00Z",
        })];
        assert_eq!(
            render(&target(), "media", &decisions),
            "TurnRegion media/centralindia\n\
             \n\
             2026-01-01T12:00:00Z  drain slot 2: ScaledDown (made 3 times, last 2026-01-01T12:04:00Z)\n  \
               slot 2 drains: it has the fewest sessions\n    \
                 desired: 2\n    \
                 events[0].n: 1\n    \
                 held: none\n    \
                 ready: 0, 1\n    \
                 sessions.0: 4\n    \
                 sessions.2: 1\n"
        );
    }

    #[test]
    fn nothing_decided_says_how_to_check_the_name() {
        let text = render(&target(), "media", &[]);
        assert!(text.contains("kubectl get turnregion -n media centralindia"), "{text}");
    }
}
