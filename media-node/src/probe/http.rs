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
use tokio::sync::{mpsc, oneshot};

use super::board::{Board, Heard};
use crate::{health, http::problem, metrics::Metrics};

/// A configuration that somebody put, and where to tell its hash, or what is wrong with it.
pub struct Put {
    pub text: String,
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// `puts` takes configurations. Without it there is no such path.
pub fn admin(board: Arc<Board>, puts: Option<mpsc::Sender<Put>>) -> Router {
    let router = Router::new().route(VERDICTS_PATH, get(verdicts)).with_state(board);
    match puts {
        Some(puts) => router.route(CONFIG_PATH, put(configure).with_state(puts)),
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

async fn configure(State(puts): State<mpsc::Sender<Put>>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, MAX_CONFIG_BODY).await else {
        let message = format!("body: did not arrive, or is larger than {MAX_CONFIG_BODY} bytes: send a probe.yaml");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, message);
    };
    let Ok(text) = String::from_utf8(body.into()) else {
        return problem(StatusCode::BAD_REQUEST, "body: is not UTF-8: send a probe.yaml");
    };
    let (answer, told) = oneshot::channel();
    if puts.send(Put { text, answer }).await.is_err() {
        return problem(StatusCode::CONFLICT, "the process is ending");
    }
    match told.await {
        Ok(Ok(config_hash)) => Json(ConfigTaken { config_hash }).into_response(),
        Ok(Err(why)) => problem(StatusCode::BAD_REQUEST, why),
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
