//! The resource manager and the authority that tokens come from, on loopback: one profile, and one service principal or
//! more. Refuses what the reference says is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OwnedMutexGuard;

pub const SUBSCRIPTION: &str = "9a3f1c52-0000-4000-8000-000000000001";
pub const RESOURCE_GROUP: &str = "rg-(prod)";
pub const PROFILE: &str = "turn.example";
pub const TENANT: &str = "9a3f1c52-0000-4000-8000-000000000002";
/// What the principals prove themselves with.
pub const SECRET: &str = "s~ecr&t=+%";
pub const DELAY: Duration = Duration::from_millis(300);
/// Seconds.
pub const LIFE: u64 = 3600;

/// An endpoint, as much of it as matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub kind: &'static str,
    pub is_enabled: bool,
    pub monitor: &'static str,
    pub weight: u64,
    pub priority: u64,
}

/// What happens to a request instead of what should.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// With `Retry-After`, in seconds.
    Refuse(u16, Option<u64>),
    /// The connection ends without an answer.
    Drop,
    /// It is done, and the connection ends without an answer.
    DoAndDrop,
    /// An answer of more than a mebibyte.
    Babble,
    /// It is done after a while.
    Delay,
}

#[derive(Default)]
pub struct State {
    pub endpoints: BTreeMap<String, Endpoint>,
    pub routing: &'static str,
    /// Enabled unless written.
    pub profile_status: Option<&'static str>,
    /// Of the next requests to the resource manager, one each.
    pub faults: VecDeque<Fault>,
    /// Tokens that are taken, and whose they are.
    pub tokens: HashMap<String, String>,
    /// All of whoever signs in.
    pub forms: Vec<BTreeMap<String, String>>,
    /// Method and what is below the profile, as in `PATCH ExternalEndpoints/a`.
    pub asked: Vec<String>,
    /// Callers had an answer once, and then none.
    pub was_silent: bool,
    /// No token is taken.
    pub is_deaf: bool,
    /// One looks and writes, then another.
    pub takes_turns: bool,
}

impl State {
    fn answers(&self) -> bool {
        self.endpoints.values().any(|endpoint| endpoint.is_enabled)
    }

    pub fn writes(&self) -> Vec<&str> {
        self.asked.iter().filter_map(|asked| asked.strip_prefix("PATCH ")).collect()
    }

    pub fn is_enabled(&self, endpoint: &str) -> bool {
        self.endpoints[endpoint].is_enabled
    }
}

#[derive(Clone)]
pub struct Azure {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    turns: Arc<Mutex<HashMap<String, OwnedMutexGuard<()>>>>,
}

impl Azure {
    /// With external endpoints: name, enabled, weight, priority.
    pub async fn start(routing: &'static str, endpoints: &[(&str, bool, u64, u64)]) -> Self {
        let endpoints = endpoints.iter().map(|&(name, is_enabled, weight, priority)| {
            let endpoint = Endpoint { kind: "ExternalEndpoints", is_enabled, monitor: "Online", weight, priority };
            (name.to_owned(), endpoint)
        });
        let state = State { endpoints: endpoints.collect(), routing, ..State::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let azure = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            turn: Arc::default(),
            turns: Arc::default(),
        };
        let serving = azure.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let azure = serving.clone();
                let service = service_fn(move |request| azure.clone().serve(request));
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        azure
    }

    /// Looks at the state, or changes it.
    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// `client` is done, and the other one goes on.
    pub fn leave(&self, client: &str) {
        self.turns.lock().unwrap().remove(client);
    }

    /// An error ends the connection without an answer.
    async fn serve(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let path = parts.uri.path();
        if path == format!("/{TENANT}/oauth2/v2.0/token") {
            return Ok(self.with(|state| state.sign_in(&body)));
        }
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let client = self.with(|state| state.tokens.get(token).cloned().filter(|_| !state.is_deaf));
        let Some(client) = client else {
            self.with(|state| state.asked.push(format!("{} refused", parts.method)));
            return Ok(refusal(401, "ExpiredAuthenticationToken", "The access token has expired."));
        };
        if parts.uri.query() != Some("api-version=2022-04-01") {
            return Ok(refusal(400, "InvalidApiVersionParameter", "The api-version is not known."));
        }
        if parts.method == Method::GET && self.with(|state| state.takes_turns) {
            self.leave(&client);
            let turn = Arc::clone(&self.turn).lock_owned().await;
            self.turns.lock().unwrap().insert(client, turn);
        }
        let fault = self.with(|state| state.faults.pop_front());
        if matches!(fault, Some(Fault::Delay)) {
            tokio::time::sleep(DELAY).await;
        }
        self.with(|state| {
            let done = |state: &mut State| state.manage(&parts.method, path, &body);
            match fault {
                None | Some(Fault::Delay) => Ok(done(state)),
                Some(Fault::Refuse(status, retry_after)) => {
                    state.asked.push(format!("{} refused", parts.method));
                    let mut refused = refusal(status, "Scripted", "as the test says");
                    if let Some(seconds) = retry_after {
                        refused.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                    }
                    Ok(refused)
                }
                Some(Fault::Drop) => Err(std::io::Error::other("dropped")),
                Some(Fault::DoAndDrop) => {
                    done(state);
                    Err(std::io::Error::other("dropped"))
                }
                Some(Fault::Babble) => Ok(Response::new(Full::new(vec![b' '; 1024 * 1024 + 1].into()))),
            }
        })
    }
}

impl State {
    /// RFC 6749 section 4.4.2, RFC 7523 section 2.2.
    fn sign_in(&mut self, body: &[u8]) -> Response<Full<Bytes>> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let text = std::str::from_utf8(body).unwrap();
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap());
        let form: BTreeMap<String, String> = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        let of = |key: &str| form.get(key).map(String::as_str);
        let is_assertion =
            of("client_assertion_type") == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let is_proved = match (of("client_secret"), of("client_assertion")) {
            (Some(secret), None) => secret == SECRET,
            (None, Some(assertion)) => is_assertion && assertion.starts_with("ey"),
            _ => false,
        };
        let scope = of("scope").unwrap_or_default();
        let is_asked = of("grant_type") == Some("client_credentials")
            && scope.starts_with("http://127.0.0.1:")
            && scope.ends_with("/.default");
        let client = of("client_id").unwrap_or_default().to_owned();
        self.forms.push(form);
        if !is_asked || !is_proved {
            let description = "AADSTS7000215: Invalid client secret provided. Trace ID: 7c2f Timestamp: 2026-01-01";
            let error = json!({"error": "invalid_client", "error_description": description});
            return answer(401, &error);
        }
        let token = format!("token-{}", self.forms.len());
        self.tokens.insert(token.clone(), client);
        answer(200, &json!({"token_type": "Bearer", "expires_in": LIFE, "access_token": token}))
    }

    fn manage(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let segments: Vec<String> =
            path.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8().unwrap().into_owned()).collect();
        let profile =
            ["subscriptions", SUBSCRIPTION, "resourceGroups", RESOURCE_GROUP, "providers", "Microsoft.Network"];
        let profile = profile.iter().chain(&["trafficmanagerprofiles", PROFILE]);
        let below = segments.get(8..).unwrap_or_default();
        self.asked.push(format!("{method} {}", below.join("/")).trim().to_owned());
        if !segments.iter().take(8).eq(profile) {
            return refusal(404, "ResourceNotFound", "The profile was not found.");
        }
        match (method, below) {
            (&Method::GET, []) => answer(200, &self.profile()),
            (&Method::PATCH, [kind, name]) => self.patch(kind, name, &serde_json::from_slice(body).unwrap()),
            _ => refusal(405, "MethodNotAllowed", "There is no such method."),
        }
    }

    fn profile(&self) -> Value {
        let endpoint = |(name, endpoint): (&String, &Endpoint)| {
            let mut kind = endpoint.kind.to_owned();
            kind[..1].make_ascii_lowercase();
            json!({
                "id": format!("/subscriptions/{SUBSCRIPTION}/…/{kind}/{name}"),
                "name": name,
                "type": format!("Microsoft.Network/trafficManagerProfiles/{kind}"),
                "properties": {
                    "endpointStatus": if endpoint.is_enabled { "Enabled" } else { "Disabled" },
                    "endpointMonitorStatus": if endpoint.is_enabled { endpoint.monitor } else { "Disabled" },
                    "target": format!("{name}.example.org"),
                    "weight": endpoint.weight,
                    "priority": endpoint.priority,
                },
            })
        };
        json!({"name": PROFILE, "type": "Microsoft.Network/trafficManagerProfiles", "properties": {
            "profileStatus": self.profile_status.unwrap_or("Enabled"),
            "trafficRoutingMethod": self.routing,
            "dnsConfig": {"relativeName": PROFILE, "fqdn": "turn.example.trafficmanager.net", "ttl": 30},
            "endpoints": self.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        }})
    }

    fn patch(&mut self, kind: &str, name: &str, body: &Value) -> Response<Full<Bytes>> {
        let answered = self.answers();
        let properties = body["properties"].as_object().unwrap();
        let known: BTreeSet<&str> = ["endpointStatus", "weight", "priority"].into();
        assert!(properties.keys().all(|key| known.contains(key.as_str())), "nothing else is ours: {body}");
        let Some(mut endpoint) = self.endpoints.get(name).filter(|endpoint| endpoint.kind == kind).cloned() else {
            return refusal(404, "ResourceNotFound", "The endpoint was not found.");
        };
        for (key, value) in properties {
            match (key.as_str(), value.as_u64(), value.as_str()) {
                ("weight", Some(weight @ 1..=1000), _) => endpoint.weight = weight,
                ("priority", Some(priority @ 1..=1000), _) => endpoint.priority = priority,
                ("endpointStatus", _, Some(status @ ("Enabled" | "Disabled"))) => {
                    endpoint.is_enabled = status == "Enabled";
                }
                _ => return refusal(400, "BadRequest", "A value is out of range."),
            }
        }
        let others = self.endpoints.iter().filter(|(other, _)| *other != name);
        if others.map(|(_, other)| other.priority).any(|priority| priority == endpoint.priority) {
            return refusal(400, "BadRequest", "The priority is already used by another endpoint.");
        }
        self.endpoints.insert(name.to_owned(), endpoint);
        self.was_silent |= answered && !self.answers();
        answer(200, &json!({"name": name}))
    }
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn refusal(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    answer(status, &json!({"error": {"code": code, "message": message}}))
}
