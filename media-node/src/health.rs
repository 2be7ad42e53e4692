//! Plain HTTP for kubelet, Prometheus and people: `/healthz`, `/readyz`, `/metrics`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rtcfleet_node_api::NodeState;

use crate::{metrics::Metrics, node::Node};

/// A relaying thread turns its loop at least once a second; one that has not for this long hangs.
const HANGS: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct App {
    node: Arc<Node>,
    metrics: Arc<Metrics>,
}

pub fn router(node: Arc<Node>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(App { node, metrics })
}

/// The process alone: nothing outside of it can make this fail, so that no outage elsewhere restarts nodes.
async fn healthz(State(app): State<App>) -> Response {
    let now = Instant::now();
    let quiet = app.node.turn().and_then(|turn| turn.quietest(now)).filter(|(_, quiet)| *quiet > HANGS);
    match quiet {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some((shard, quiet)) => {
            let message =
                format!("thread {shard} has not turned its loop for {} s: restart the process\n", quiet.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
    }
}

/// Listeners are open and a secret is loaded. Stays true while draining: live sessions need the node's flows.
async fn readyz(State(app): State<App>) -> Response {
    match app.node.state() {
        NodeState::Starting => {
            let message =
                "starting: the log says what is waited for (relay addresses, the secret or the certificate)\n";
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
        NodeState::Active | NodeState::Draining | NodeState::Drained => (StatusCode::OK, "ok\n").into_response(),
    }
}

async fn render(State(app): State<App>) -> Response {
    page(&app.metrics)
}

/// What `/metrics` answers.
pub fn page(metrics: &Metrics) -> Response {
    match metrics.render() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
