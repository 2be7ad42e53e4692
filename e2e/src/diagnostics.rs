//! What a person needs when a scenario has failed: conditions, pods, Events and the ends of the logs.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
};
use rtcfleet_crds::TurnRegion;

use crate::wait::conditions;

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

async fn regions(client: &Client, namespace: &str) -> kube::Result<String> {
    let mut text = String::new();
    for region in Api::<TurnRegion>::namespaced(client.clone(), namespace).list(&ListParams::default()).await? {
        let observed = region.status.as_ref().and_then(|status| status.observed_generation);
        let _ = writeln!(
            text,
            "turnregion {} generation {:?} observed {observed:?}",
            region.name_any(),
            region.metadata.generation
        );
        for condition in conditions(&region) {
            let _ = writeln!(
                text,
                "  {}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            );
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
