//! The API server's audit log: who asked it for what.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{cluster, operator};

/// The log from now on.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// What the operator asked for since the audit began.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Renewals of the Lease: a sign that the log tells of the operator at all.
    pub renewals: usize,
    /// Everything else that changes something.
    pub writes: Vec<Write>,
}

/// A request that changes something.
#[derive(Debug, PartialEq, Eq)]
pub struct Write {
    pub verb: String,
    /// With its subresource, such as `turnregions/status`.
    pub resource: String,
    /// Empty for what has none.
    pub namespace: String,
    pub name: String,
}

impl Audit {
    pub fn begin() -> Result<Self> {
        let path = cluster::state().join("audit.log");
        let from = path.metadata().with_context(|| format!("{}: no audit log: run `make up`", path.display()))?.len();
        Ok(Self { path, from })
    }

    /// Reads what was written since [`Audit::begin`]. The log is rotated at 100 MB, far more than a scenario causes.
    pub fn of_operator(&self) -> Result<Requests> {
        let mut file = File::open(&self.path)?;
        ensure!(file.metadata()?.len() >= self.from, "{}: rotated meanwhile: run again", self.path.display());
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A last line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        Ok(requests(whole.lines().filter_map(|line| serde_json::from_str(line).ok())))
    }
}

fn requests(events: impl Iterator<Item = Value>) -> Requests {
    let mut requests = Requests::default();
    let user = format!("system:serviceaccount:{}:{}", operator::NAMESPACE, operator::NAME);
    for event in events.filter(|event| event["user"]["username"] == user.as_str()) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (verb, resource, name) = (text("/verb"), text("/objectRef/resource"), text("/objectRef/name"));
        if ["get", "list", "watch"].contains(&verb.as_str()) {
            continue;
        }
        if resource == "leases" && name == operator::NAME {
            requests.renewals += 1;
        } else {
            let subresource = text("/objectRef/subresource");
            let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
            requests.writes.push(Write { verb, resource, namespace: text("/objectRef/namespace"), name });
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(user: &str, verb: &str, object: &Value) -> Value {
        json!({"user": {"username": user}, "verb": verb, "objectRef": object})
    }

    #[test]
    fn only_what_the_operator_changes_counts() {
        let operator = "system:serviceaccount:rtc-fleet-system:rtc-fleet-operator";
        let lease = json!({"resource": "leases", "namespace": "rtc-fleet-system", "name": "rtc-fleet-operator"});
        let region = json!({"resource": "turnregions", "subresource": "status", "namespace": "rtc", "name": "a"});
        let found = requests(
            [
                event(operator, "update", &lease),
                event(operator, "watch", &region),
                event("system:admin", "patch", &region),
                event(operator, "patch", &region),
            ]
            .into_iter(),
        );
        let [verb, resource, namespace, name] = ["patch", "turnregions/status", "rtc", "a"].map(str::to_owned);
        assert_eq!(found, Requests { renewals: 1, writes: vec![Write { verb, resource, namespace, name }] });
    }
}
