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

use super::{IoError, MANAGER, call};
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
        // Without the version: the same thing about the next version of the object is the same thing.
        let about = ObjectReference { resource_version: None, ..object.object_ref(&()) };
        let reference = ObjectRef::of(object);
        let events = Api::<Event>::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
        let now = self.clock.now();
        let written = if let Some((event, count)) = self.repeated(&about, &note, now) {
            self.count_up(reference, &events, &event, EventSeries { count, last_observed_time: MicroTime(now) }).await
        } else {
            self.create(reference, &events, about, note, now).await
        };
        if let Err(error) = written {
            self.metrics.event_failed();
            tracing::warn!(error = with_causes(&error), "an Event was not published");
        }
    }

    async fn count_up(
        &self,
        about: ObjectRef,
        events: &Api<Event>,
        name: &str,
        series: EventSeries,
    ) -> Result<(), IoError> {
        let patch = Patch::Merge(json!({"series": series}));
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let counted = call("publish an Event about", about, events.patch(name, &params, &patch)).await;
        if counted.is_err() {
            // Perhaps it has expired: the next one is a new Event.
            self.forget(name);
        }
        counted.map(drop)
    }

    async fn create(
        &self,
        object: ObjectRef,
        events: &Api<Event>,
        about: ObjectReference,
        note: Note,
        now: Timestamp,
    ) -> Result<(), IoError> {
        let event = self.event(&about, &note, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        call("publish an Event about", object, events.create(&params, &event)).await?;
        self.remember(Published { about, note, event: name, count: 1, last: now });
        Ok(())
    }

    /// The Event that said the same a short while ago, and how often it is said now.
    fn repeated(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Option<(String, i32)> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.retain(|event| now.duration_since(event.last) <= SERIES_FOR);
        let same = published.iter_mut().find(|event| event.about == *about && event.note == *note)?;
        same.count = same.count.saturating_add(1);
        same.last = now;
        Some((same.event.clone(), same.count))
    }

    fn forget(&self, event: &str) {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).retain(|published| published.event != event);
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
            note: Some(shortened(&note.message)),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about.clone()),
            reporting_controller: Some(MANAGER.into()),
            reporting_instance: Some(self.instance.to_string()),
            ..Event::default()
        }
    }
}

fn shortened(message: &str) -> String {
    if message.len() <= LONGEST_NOTE {
        return message.to_owned();
    }
    let ends = message.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST_NOTE - '…'.len_utf8());
    format!("{}…", &message[..ends.last().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;

    use super::*;
    use crate::kube_io::testing::{Scenario, Seen, answer, refusal};

    struct Noon;

    impl Clock for Noon {
        fn instant(&self) -> std::time::Instant {
            std::time::Instant::now()
        }

        fn now(&self) -> Timestamp {
            "2026-01-01T12:00:00Z".parse().unwrap()
        }
    }

    fn recorder(server: impl FnMut(Seen) -> Response<Body> + Send + 'static) -> (Recorder, Metrics, Scenario) {
        let (client, scenario) = Scenario::start(server);
        let metrics = Metrics::new();
        (Recorder::new(client, "operator-x", Arc::new(Noon), metrics.clone()), metrics, scenario)
    }

    fn object() -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "media", "uid": "u-1"}})).unwrap()
    }

    fn note(message: &str) -> Note {
        Note { warning: false, reason: "ScaledUp", action: "Scale", message: message.into() }
    }

    #[tokio::test]
    async fn the_same_note_again_is_counted_up_and_another_text_is_another_event() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let (recorder, _, scenario) = recorder(move |request| {
            let body: serde_json::Value = request.json();
            log.lock().unwrap().push((request.method, body["note"].clone(), body["series"]["count"].clone()));
            answer(&Event::default())
        });
        recorder.publish(&object(), note("from 2 to 3")).await;
        recorder.publish(&object(), note("from 2 to 3")).await;
        recorder.publish(&object(), note("from 3 to 4")).await;
        let expected = [
            ("POST".to_owned(), json!("from 2 to 3"), json!(null)),
            ("PATCH".to_owned(), json!(null), json!(2)),
            ("POST".to_owned(), json!("from 3 to 4"), json!(null)),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
        scenario.expect_requests(3).await;
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_published_is_counted_and_stops_nothing() {
        let (recorder, metrics, scenario) = recorder(|_| refusal(403, "Forbidden"));
        recorder.publish(&object(), note("from 2 to 3")).await;
        recorder.publish(&object(), note("from 2 to 3")).await;
        assert!(metrics.encode().contains("rtcfleet_operator_event_failures_total 2"));
        scenario.expect_requests(2).await;
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters_at_the_api_servers_limit() {
        let long = shortened(&"ü".repeat(1000));
        assert!(long.len() <= LONGEST_NOTE && long.len() > LONGEST_NOTE - 4 && long.ends_with("ü…"), "{}", long.len());
        assert_eq!(shortened("short"), "short");
    }
}
