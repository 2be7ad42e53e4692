//! The admin API: what the operator reads and sets. The types are in `rtcfleet-node-api`.

#[cfg(test)]
mod tests;
pub mod tls;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use jiff::Timestamp;
use rtcfleet_node_api::{MAX_BODY, STATE_PATH, STATUS_PATH, SetState};

use crate::{http::problem, life::Refusal, node::Node};

pub fn router(node: Arc<Node>) -> Router {
    Router::new().route(STATUS_PATH, get(status)).route(STATE_PATH, put(set_state)).with_state(node)
}

async fn status(State(node): State<Arc<Node>>) -> Response {
    Json(node.status()).into_response()
}

async fn set_state(State(node): State<Arc<Node>>, body: Body) -> Response {
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        let message = format!("body: did not arrive, or is larger than {MAX_BODY} bytes: send a SetState");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, message);
    };
    let wanted: SetState = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => {
            return problem(
                StatusCode::BAD_REQUEST,
                format!(
                    "body: {error}: send {{\"state\":\"Active\"}} or \
                     {{\"state\":\"Draining\",\"deadline\":\"2026-01-31T12:00:00Z\"}}"
                ),
            );
        }
    };
    match node.set_state(wanted, Timestamp::now()) {
        Ok(()) => Json(node.status()).into_response(),
        Err(refusal) => problem(status_of(&refusal), refusal.to_string()),
    }
}

fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Starting | Refusal::Terminating => StatusCode::CONFLICT,
        Refusal::Alternates(_) => StatusCode::BAD_REQUEST,
    }
}
