//! What a prober serves: verdicts, and its configuration to be exchanged, over mutual TLS; health and metrics in the plain.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use jiff::Timestamp;
use rtcfleet_node_api::{CONFIG_PATH, ConfigTaken, MAX_CONFIG_BODY, VERDICTS_PATH, Verdicts};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    board::{Board, Heard},
    loaded::{InForce, Place},
};
use crate::{health, http::problem, metrics::Metrics};

/// A configuration that somebody put, and where to tell the hash of what is in force then.
pub struct Put {
    pub next: InForce,
    pub answer: oneshot::Sender<String>,
}

/// Who takes configurations.
#[derive(Clone)]
pub struct Taker {
    pub place: Place,
    pub puts: mpsc::Sender<Put>,
}

/// Without a `taker` there is no path for configurations.
pub fn admin(board: Arc<Board>, taker: Option<Taker>) -> Router {
    let router = Router::new().route(VERDICTS_PATH, get(verdicts)).with_state(board);
    match taker {
        Some(taker) => router.route(CONFIG_PATH, put(configure).with_state(taker)),
        None => router,
    }
}

/// What the reader was told before; without one of the two, everything is told.
#[derive(Deserialize)]
struct Asked {
    boot: Option<u64>,
    after: Option<u64>,
}

async fn verdicts(State(board): State<Arc<Board>>, Query(asked): Query<Asked>) -> Json<Verdicts> {
    let heard = asked.boot.zip(asked.after).map(|(boot, after)| Heard { boot, after });
    Json(board.verdicts(heard, Timestamp::now(), Instant::now()))
}

async fn configure(State(Taker { place, puts }): State<Taker>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, MAX_CONFIG_BODY).await else {
        let message = format!("body: did not arrive, or is larger than {MAX_CONFIG_BODY} bytes: send a probe.yaml");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, message);
    };
    let Ok(text) = String::from_utf8(body.into()) else {
        return problem(StatusCode::BAD_REQUEST, "body: is not UTF-8: send a probe.yaml");
    };
    // Not on the thread that probes: what comes late there counts as lost.
    let next = match spawn_blocking(move || InForce::of(&place, text)).await {
        Ok(Ok(next)) => next,
        Ok(Err(wrong)) => return problem(StatusCode::BAD_REQUEST, wrong.to_string()),
        Err(_) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "the configuration could not be read"),
    };
    let (answer, told) = oneshot::channel();
    let _ = puts.send(Put { next, answer }).await;
    match told.await {
        Ok(config_hash) => Json(ConfigTaken { config_hash }).into_response(),
        Err(_) => problem(StatusCode::CONFLICT, "the process is ending"),
    }
}

/// That it answers is what shows that it lives: probes and answers share one thread.
pub fn plain(metrics: Arc<Metrics>) -> Router {
    let ok = || async { "ok\n" };
    Router::new().route("/healthz", get(ok)).route("/readyz", get(ok)).route("/metrics", get(page)).with_state(metrics)
}

async fn page(State(metrics): State<Arc<Metrics>>) -> Response {
    health::page(&metrics)
}
