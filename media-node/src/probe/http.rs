//! What a prober serves: verdicts over mutual TLS; health and metrics in the plain.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Query, State},
    response::Response,
    routing::get,
};
use jiff::Timestamp;
use rtcfleet_node_api::{VERDICTS_PATH, Verdicts};
use serde::Deserialize;

use super::board::{Board, Heard};
use crate::{health, metrics::Metrics};

pub fn admin(board: Arc<Board>) -> Router {
    Router::new().route(VERDICTS_PATH, get(verdicts)).with_state(board)
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

/// That it answers is what shows that it lives: probes and answers share one thread.
pub fn plain(metrics: Arc<Metrics>) -> Router {
    let ok = || async { "ok\n" };
    Router::new().route("/healthz", get(ok)).route("/readyz", get(ok)).route("/metrics", get(page)).with_state(metrics)
}

async fn page(State(metrics): State<Arc<Metrics>>) -> Response {
    health::page(&metrics)
}
