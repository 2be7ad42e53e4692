//! What a person needs when a scenario has failed: conditions, pods, Events and the ends of the logs.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, LogParams},
    core::ApiResource,
};
use rtcfleet_crds::TurnRegion;

/// Lines of each pod's log that are shown.
const LOG_LINES: i64 = 40;
/// Pods and Events that are shown, the youngest.
const MOST: usize = 40;

/// Everything about a namespace, as text. What cannot be read is said in its place.
pub async fn of_namespace(client: &Client, namespace: &str) -> String {
    let mut text = format!("--- namespace {namespace} ---\n");
    text += &regions(client, namespace).await.unwrap_or_else(|error| format!("turnregions: {error}\n"));
    text += &events(client, namespace).await.unwrap_or_else(|error| format!("events: {error}\n"));
    text += &pods(client, namespace).await.unwrap_or_else(|error| format!("pods: {error}\n"));
    text
}

/// Read without a type: one of them may be malformed.
async fn regions(client: &Client, namespace: &str) -> kube::Result<String> {
    let regions =
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &ApiResource::erase::<TurnRegion>(&()));
    let mut text = String::new();
    for region in regions.list(&ListParams::default()).await? {
        let status = &region.data["status"];
        let _ = writeln!(
            text,
            "turnregion {} generation {:?} observed {}",
            region.name_any(),
            region.metadata.generation,
            status["observedGeneration"]
        );
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let field = |name: &str| condition[name].as_str().unwrap_or_default();
            let (kind, status) = (field("type"), field("status"));
            let _ = writeln!(text, "  {kind}={status} {}: {}", field("reason"), field("message"));
        }
    }
    Ok(text)
}

async fn events(client: &Client, namespace: &str) -> kube::Result<String> {
    let mut events = Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
    events.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let mut text = String::new();
    for event in events.iter().rev().take(MOST).rev() {
        let about = &event.involved_object;
        let _ = writeln!(
            text,
            "event {} {}/{} {}: {}",
            event.type_.as_deref().unwrap_or_default(),
            about.kind.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default()
        );
    }
    Ok(text)
}

async fn pods(client: &Client, namespace: &str) -> kube::Result<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let tail = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
    let mut text = String::new();
    for pod in pods.list(&ListParams::default()).await?.items.iter().take(MOST) {
        let status = pod.status.clone().unwrap_or_default();
        let restarts: i32 = status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
        let phase = status.phase.as_deref().unwrap_or("no phase");
        let _ = writeln!(text, "pod {} on {node}: {phase}, {restarts} restarts", pod.name_any());
        let log = pods.logs(&pod.name_any(), &tail).await.unwrap_or_else(|error| format!("no log: {error}"));
        for line in log.lines() {
            let _ = writeln!(text, "  | {line}");
        }
    }
    Ok(text)
}
