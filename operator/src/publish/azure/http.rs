//! Questions over HTTPS, asked again where that may help, and bounded: tries, time, and the size of answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::cloud::Site;
use super::error::AzureError;

/// From the question to the end of the answer.
const REQUEST: Duration = Duration::from_secs(10);
/// All that one look or one publication asks.
const IN_ALL: Duration = Duration::from_secs(30);
const TRIES: usize = 4;
/// Before the second try, doubled from one to the next.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// One that wants more time is asked again by a later publication.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A profile has at most 200 endpoints of less than 1 KiB.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// Words of an error that are told.
const LONGEST_WORDS: usize = 300;

/// When all has to be done.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn start() -> Self {
        Self(Instant::now() + IN_ALL)
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// What is asked, of whom.
pub struct Question {
    pub site: Site,
    pub method: Method,
    /// Path and query, encoded.
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
    /// The header `Authorization`, which is told nowhere.
    pub authorization: Option<HeaderValue>,
}

/// An answer that another try would not change.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    rng: Mutex<StdRng>,
}

impl Http {
    /// `seed` makes the jitter.
    pub fn new(seed: u64) -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            // `Site` allows http on this machine only.
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, rng: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    /// Asks until there is an answer that is not to be had again in another way, at most four times. Questions must be
    /// such that asking twice, and later, does the same as once.
    pub async fn ask(&self, question: &Question, deadline: Deadline) -> Result<Answer, AzureError> {
        let mut tries = 0;
        loop {
            match self.once(question, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tries += 1;
                    self.rest(error, tries, deadline).await?;
                }
            }
        }
    }

    /// Asks once. A server that is busy is an error.
    pub async fn once(&self, question: &Question, deadline: Deadline) -> Result<Answer, AzureError> {
        let host = question.site.place();
        let left = deadline.left();
        match timeout(REQUEST.min(left), self.exchange(question)).await {
            Ok(answered) => answered,
            Err(_) if left <= REQUEST => Err(AzureError::OutOfTime { host, seconds: IN_ALL.as_secs() }),
            Err(_) => Err(AzureError::NoAnswer { host, seconds: REQUEST.as_secs() }),
        }
    }

    /// After so many tries that failed, the last of them by `error`: waits for the next one.
    ///
    /// # Errors
    /// That error, if there is to be none: it does not pass, four are enough, or there is no time.
    pub async fn rest(&self, error: AzureError, tries: usize, deadline: Deadline) -> Result<(), AzureError> {
        let wait = error.retry_after().unwrap_or_else(|| self.pause(tries));
        if !error.passes() || tries >= TRIES || wait > LONGEST_WAIT || wait >= deadline.left() {
            return Err(error);
        }
        sleep(wait).await;
        Ok(())
    }

    async fn exchange(&self, question: &Question) -> Result<Answer, AzureError> {
        let host = || question.site.place();
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(format!("{}{}", question.site, question.path))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, question.content_type);
        if let Some(value) = &question.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Full::new(question.body.clone()));
        let request = request.map_err(|error| AzureError::Unreadable { host: host(), what: error.to_string() })?;
        let answer = self.client.request(request).await.map_err(|error| {
            let is_connect = error.is_connect();
            let (host, source) = (host(), Box::new(error));
            if is_connect { AzureError::Unreachable { host, source } } else { AzureError::Broken { host, source } }
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|source| {
            if source.is::<LengthLimitError>() {
                AzureError::TooLong { host: host(), limit: LONGEST_ANSWER }
            } else {
                AzureError::Broken { host: host(), source }
            }
        })?;
        let answer = Answer { status: parts.status, body: body.to_bytes() };
        if is_busy(answer.status) {
            let (status, message) = (answer.status.as_u16(), words(&answer.body, None));
            return Err(AzureError::Busy { host: host(), status, message, retry_after: retry_after(&parts.headers) });
        }
        Ok(answer)
    }

    /// Up to a quarter less, so that not all who failed together come back together.
    fn pause(&self, tries: usize) -> Duration {
        let jitter: f64 = self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.75..=1.0);
        FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(8)).mul_f64(jitter)
    }
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT)
}

/// In seconds, as Azure writes it (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What an error says: of the resource manager, or of the authority (RFC 6749 section 5.2).
#[derive(Deserialize)]
#[serde(untagged)]
enum Refusal {
    ResourceManager { error: Words },
    Authority { error: String, error_description: Option<String> },
}

#[derive(Deserialize)]
struct Words {
    code: Option<String>,
    message: Option<String>,
}

/// On one line, and the same each time: without the time and the number of the request, and without what we sent as
/// `proof` of who we are.
pub fn words(body: &[u8], proof: Option<&str>) -> String {
    let (code, message) = match serde_json::from_slice(body) {
        Ok(Refusal::ResourceManager { error }) => (error.code, error.message),
        Ok(Refusal::Authority { error, error_description }) => (Some(error), error_description),
        Err(_) => return "it does not say why".to_owned(),
    };
    let message = message.unwrap_or_default();
    let message = message.split("Trace ID:").next().unwrap_or_default().lines().next().unwrap_or_default().trim();
    let told = [code.as_deref().unwrap_or_default(), message];
    let told = told.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    // Before it is cut: a part of it is no less confidential.
    let told = proof.map_or(told.clone(), |proof| told.replace(proof, "…"));
    told.chars().take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_words_of_azure_without_what_differs_each_time() {
        for (body, told) in [
            (r#"{"error": {"code": "NotFound", "message": "no such profile"}}"#, "NotFound: no such profile"),
            (
                r#"{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret. Trace ID: 1 Timestamp: 2"}"#,
                "invalid_client: AADSTS7000215: Invalid secret.",
            ),
            (r#"{"error": {"code": "Throttled"}}"#, "Throttled"),
            ("<html>", "it does not say why"),
        ] {
            assert_eq!(words(body.as_bytes(), None), told);
        }
    }

    #[test]
    fn a_proof_is_not_told_where_the_words_are_cut() {
        let proof = "p".repeat(40);
        let body = serde_json::json!({"error": {"message": format!("{}{proof}", "x".repeat(LONGEST_WORDS - 20))}});
        assert!(!words(body.to_string().as_bytes(), Some(&proof)).contains("pp"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_more_than_ten_seconds_is_left_to_a_later_publication() {
        let http = Http::new(1).unwrap();
        let busy = |seconds| AzureError::Busy {
            host: "a".into(),
            status: 429,
            message: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert!(http.rest(busy(10), 1, Deadline::start()).await.is_ok());
        assert!(http.rest(busy(11), 1, Deadline::start()).await.is_err());
        assert!(http.rest(busy(1), TRIES, Deadline::start()).await.is_err());
        assert!(http.rest(AzureError::NotLeader, 1, Deadline::start()).await.is_err());
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds() {
        for (written, expected) in [("3", Some(3)), ("60", Some(60)), ("Wed, 21 Oct 2026 07:28:00 GMT", None)] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(written))]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{written}");
        }
    }

    #[test]
    fn waits_double_and_differ_by_the_seed() {
        let http = Http::new(1).unwrap();
        for (tries, longest) in [(1, 500), (2, 1000), (3, 2000)] {
            let wait = http.pause(tries).as_millis();
            assert!((longest * 3 / 4..=longest).contains(&wait), "{tries}: {wait}");
        }
        assert_ne!(Http::new(1).unwrap().pause(1), Http::new(2).unwrap().pause(1));
    }
}
