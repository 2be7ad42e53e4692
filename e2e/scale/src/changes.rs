//! What changes in the statuses of a fleet that should be steady.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use rtcfleet_crds::TurnRegion;
use serde_json::Value;
use tokio::{sync::Mutex, task::JoinHandle};

/// Told at the most.
const MOST: usize = 20;

/// A watch of all statuses, until it is ended.
pub struct Changes {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Changes {
    pub fn watched(client: &Client) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let task = tokio::spawn(follow(client.clone(), Arc::clone(&seen)));
        Self { seen, task }
    }

    /// A line for each field that changed.
    pub async fn end(self) -> Vec<String> {
        self.task.abort();
        let mut seen = self.seen.lock().await;
        std::mem::take(&mut *seen)
    }
}

async fn follow(client: Client, seen: Arc<Mutex<Vec<String>>>) {
    let mut known = BTreeMap::new();
    let regions = Api::<TurnRegion>::all(client);
    let mut events = watcher(regions, watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Ok(Some(region)) = events.try_next().await {
        let name = region.name_any();
        let Ok(status) = serde_json::to_value(&region.status) else { continue };
        if let Some(before) = known.insert(name.clone(), status.clone()) {
            let mut seen = seen.lock().await;
            let room = MOST.saturating_sub(seen.len());
            seen.extend(differences(&before, &status).into_iter().take(room).map(|change| format!("{name}: {change}")));
        }
    }
}

fn differences(before: &Value, after: &Value) -> Vec<String> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let changed = after.iter().filter(|(field, value)| before.get(*field) != Some(*value));
    let one = |(field, value): (&String, &Value)| {
        format!("{field} from {} to {value}", before.get(field).unwrap_or(&Value::Null))
    };
    changed.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_by_field() {
        let (before, after) = (serde_json::json!({"a": 1, "b": 2}), serde_json::json!({"a": 1, "b": 3, "c": 4}));
        assert_eq!(differences(&before, &after), ["b from 2 to 3", "c from null to 4"]);
    }
}
