//! Events: what an SRE sees under `kubectl describe`. Publishing is best effort and never fails a reconcile.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event, events::v1::EventSeries},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{MANAGER, call};
use crate::{clock::Clock, decisions::ObjectRef, error::with_causes, metrics::Metrics};

/// Events that are counted up instead of written anew: as many, and for as long. Bounded for the process's memory.
const REMEMBERED: usize = 1024;
const SERIES_FOR: SignedDuration = SignedDuration::from_mins(6);
/// The API server refuses a longer note.
const LONGEST_NOTE: usize = 1024;

/// One thing to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// True for what somebody should look at.
    pub warning: bool,
    /// CamelCase constant, as the condition's reason.
    pub reason: &'static str,
    /// What was done or refused, CamelCase: `Scale`.
    pub action: &'static str,
    pub message: String,
}

/// Publishes Events; one for the process. Cheap to clone.
///
/// kube's own recorder counts Events of one reason up and keeps the first one's text; here another text is another Event.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    instance: Arc<str>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    published: Arc<Mutex<VecDeque<Published>>>,
}

struct Published {
    about: ObjectReference,
    note: Note,
    event: String,
    count: i32,
    last: Timestamp,
}

impl Recorder {
    /// `instance` is the pod's name.
    pub fn new(client: Client, instance: &str, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { client, instance: instance.into(), clock, metrics, published: Arc::default() }
    }

    /// Publishes `note` about `object`. A failure is logged and counted.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        let about = object.object_ref(&());
        let reference = ObjectRef::of(object);
        let events = Api::<Event>::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
        let now = self.clock.now();
        let written = match self.repeated(&about, &note, now) {
            Some((event, count)) => {
                let series = EventSeries { count, last_observed_time: MicroTime(now) };
                let patch = Patch::Merge(json!({"series": series}));
                let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
                call("publish an Event about", reference, events.patch(&event, &params, &patch)).await.map(drop)
            }
            None => {
                let event = self.event(&about, &note, now);
                let name = event.metadata.name.clone().unwrap_or_default();
                let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
                let created = call("publish an Event about", reference, events.create(&params, &event)).await;
                if created.is_ok() {
                    self.remember(Published { about, note, event: name, count: 1, last: now });
                }
                created.map(drop)
            }
        };
        if let Err(error) = written {
            self.metrics.event_failed();
            tracing::warn!(error = with_causes(&error), "an Event was not published");
        }
    }

    /// The Event that said the same a short while ago, and how often it is said now.
    fn repeated(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Option<(String, i32)> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.retain(|event| now.duration_since(event.last) <= SERIES_FOR);
        let same = published.iter_mut().find(|event| event.about.uid == about.uid && event.note == *note)?;
        if same.about.name != about.name || same.about.namespace != about.namespace {
            return None;
        }
        same.count = same.count.saturating_add(1);
        same.last = now;
        Some((same.event.clone(), same.count))
    }

    fn remember(&self, event: Published) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.len() == REMEMBERED {
            published.pop_front();
        }
        published.push_back(event);
    }

    fn event(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Event {
        let name = about.name.as_deref().unwrap_or(MANAGER);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            action: Some(note.action.into()),
            reason: Some(note.reason.into()),
            note: Some(note.message.chars().take(LONGEST_NOTE / 4).collect())
                .filter(|_| note.message.len() > LONGEST_NOTE)
                .or_else(|| Some(note.message.clone())),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about.clone()),
            reporting_controller: Some(MANAGER.into()),
            reporting_instance: Some(self.instance.to_string()),
            ..Event::default()
        }
    }
}
