//! The API server as a script, for tests: one closure answers every request, and the requests are counted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tower_test::mock;

/// A request as the API server would see it.
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// Answers until dropped.
pub struct Scenario {
    requests: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Scenario {
    /// A client and the server behind it. A panic in `answer` fails the request, and with it the test.
    pub fn start(mut answer: impl FnMut(Seen) -> Response<Body> + Send + 'static) -> (Client, Self) {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            while let Some((request, reply)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("the body can be read").to_bytes().to_vec();
                counted.fetch_add(1, Ordering::SeqCst);
                reply.send_response(answer(Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body,
                }));
            }
        });
        (Client::new(service, "default"), Self { requests, server })
    }

    /// Ends the scenario: it saw exactly that many requests.
    pub async fn expect_requests(self, expected: usize) {
        if self.server.is_finished() {
            self.server.await.expect("every request was one that the test expects");
        } else {
            self.server.abort();
        }
        assert_eq!(self.requests.load(Ordering::SeqCst), expected, "requests to the API server");
    }
}

/// 200 with a body.
pub fn answer(body: &impl Serialize) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(body).expect("the answer is JSON")))
}

/// A refusal as the API server words it.
pub fn refusal(code: u16, reason: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("refused: {reason}"),
    });
    let mut response = answer(&status);
    *response.status_mut() = http::StatusCode::from_u16(code).expect("an HTTP status");
    response
}
