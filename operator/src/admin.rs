//! Health, metrics and decisions over HTTP.
//!
//! `/healthz`, `/readyz` and `/metrics` are for everybody in the cluster; `/decisions/…` listens on loopback only.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    decisions::{Decisions, Remembered},
    leader::Leadership,
    metrics::Metrics,
};

/// What this process knows about its own health. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<State_>);

#[derive(Default)]
struct State_ {
    loops: Mutex<BTreeMap<&'static str, Beat>>,
    api_reached: AtomicBool,
    crds_established: AtomicBool,
}

#[derive(Clone, Copy)]
struct Beat {
    last: Instant,
    longest_silence: Duration,
}

/// A loop's way to say that it runs. Dropped when the loop ends on purpose.
pub struct Heartbeat {
    health: Health,
    name: &'static str,
}

impl Heartbeat {
    pub fn beat(&self) {
        if let Some(beat) = self.health.loops().get_mut(self.name) {
            beat.last = Instant::now();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.health.loops().remove(self.name);
    }
}

impl Health {
    /// Expects [`Heartbeat::beat`] at least every `longest_silence`; without it, `/healthz` fails and the container is
    /// started again. Only for loops that run whatever happens outside the process.
    pub fn expect_beats(&self, name: &'static str, longest_silence: Duration) -> Heartbeat {
        self.loops().insert(name, Beat { last: Instant::now(), longest_silence });
        Heartbeat { health: self.clone(), name }
    }

    /// The API server answered once.
    pub fn reached_api(&self) {
        self.0.api_reached.store(true, Ordering::Relaxed);
    }

    /// All kinds can be read and written.
    pub fn established_crds(&self) {
        self.0.crds_established.store(true, Ordering::Relaxed);
    }

    /// The loops that have been silent for too long, by name.
    fn silent(&self, now: Instant) -> Vec<&'static str> {
        let too_long = |beat: &Beat| now.saturating_duration_since(beat.last) > beat.longest_silence;
        self.loops().iter().filter(|(_, beat)| too_long(beat)).map(|(name, _)| *name).collect()
    }

    /// What is missing before this replica can serve or stand by.
    fn missing(&self) -> Option<&'static str> {
        if !self.0.api_reached.load(Ordering::Relaxed) {
            Some("the API server was not reached yet")
        } else if !self.0.crds_established.load(Ordering::Relaxed) {
            Some("the CustomResourceDefinitions are not established yet")
        } else {
            None
        }
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Beat>> {
        self.0.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The public routes.
pub fn public(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(exposition)).with_state(metrics))
}

async fn healthz(State(health): State<Health>) -> (StatusCode, String) {
    match health.silent(Instant::now()).as_slice() {
        [] => (StatusCode::OK, "ok\n".into()),
        silent => (StatusCode::SERVICE_UNAVAILABLE, format!("no sign of life from: {}\n", silent.join(", "))),
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match health.missing() {
        None => (StatusCode::OK, "ok\n".into()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

async fn exposition(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

/// The answer of `/decisions/{kind}/{namespace}/{name}`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// False: this replica stands by, and its decisions (if any) are old.
    pub leader: bool,
    pub decisions: Vec<Remembered>,
}

/// The routes for loopback.
pub fn private(decisions: Decisions, leadership: Leadership) -> Router {
    Router::new().route("/decisions/{kind}/{namespace}/{name}", get(explain)).with_state((decisions, leadership))
}

async fn explain(
    State((decisions, leadership)): State<(Decisions, Leadership)>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Json<Explanation> {
    Json(Explanation {
        leader: leadership.fence(Instant::now()).is_some(),
        decisions: decisions.about(&kind, &namespace, &name),
    })
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{flag}: cannot listen on {address}: choose a free address of this machine")]
    Bind { flag: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("{flag}: {address} is reachable from outside: decisions are for loopback, such as 127.0.0.1:8081")]
    NotLoopback { flag: &'static str, address: SocketAddr },
}

/// Opens the listener that `flag` asks for.
pub async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { flag, address, source })
}

/// As [`bind`], and only on loopback.
pub async fn bind_loopback(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    if address.ip().is_loopback() { bind(flag, address).await } else { Err(ServeError::NotLoopback { flag, address }) }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, router: Router) {
    // axum retries a failed accept by itself; it only returns when told to shut down, which nobody does.
    let _ = axum::serve(listener, router).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::{Decision, ObjectRef};
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::Service as _;

    async fn get(mut router: Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.call(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_replica_is_ready_when_the_api_server_answered_and_the_kinds_are_there_leader_or_not() {
        let health = Health::default();
        let router = || public(health.clone(), Metrics::new());
        assert_eq!(get(router(), "/readyz").await, (503, "the API server was not reached yet\n".into()));
        health.reached_api();
        assert_eq!(get(router(), "/readyz").await.0, 503);
        health.established_crds();
        assert_eq!(get(router(), "/readyz").await, (200, "ok\n".into()));
    }

    #[tokio::test]
    async fn a_loop_that_fell_silent_is_named_and_one_that_ended_is_not_expected() {
        let health = Health::default();
        let router = || public(health.clone(), Metrics::new());
        assert_eq!(get(router(), "/healthz").await.0, 200, "nothing outside the process counts");
        let stuck = health.expect_beats("election", Duration::ZERO);
        let alive = health.expect_beats("resync", Duration::from_mins(1));
        alive.beat();
        let (status, body) = get(router(), "/healthz").await;
        assert_eq!((status, body.as_str()), (503, "no sign of life from: election\n"));
        drop(stuck);
        assert_eq!(get(router(), "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn decisions_are_answered_apart_from_what_everybody_may_read() {
        let metrics = Metrics::new();
        let decisions = Decisions::new(metrics.clone());
        decisions.record(Decision {
            kind: "scale",
            reason: "LoadAboveTarget",
            object: ObjectRef::new("TurnRegion", "media", "centralindia"),
            slot: None,
            message: "from 2 to 3".into(),
            inputs: serde_json::json!({"sessions": 301}),
            at: "2026-01-01T12:00:00Z".parse().unwrap(),
        });
        let path = "/decisions/turnregion/media/centralindia";
        let (status, body) = get(private(decisions, Leadership::default()), path).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["leader"]), (200, &serde_json::json!(false)));
        assert_eq!(body["decisions"][0]["inputs"]["sessions"], 301);
        assert_eq!(get(public(Health::default(), metrics.clone()), path).await.0, 404);
        assert!(get(public(Health::default(), metrics), "/metrics").await.1.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn decisions_are_served_on_loopback_only() {
        let open = "0.0.0.0:0".parse().unwrap();
        let error = bind_loopback("--decisions-address", open).await.unwrap_err();
        assert!(error.to_string().starts_with("--decisions-address: 0.0.0.0:0 is reachable from outside"), "{error}");
        assert!(bind_loopback("--decisions-address", "127.0.0.1:0".parse().unwrap()).await.is_ok());
    }
}
