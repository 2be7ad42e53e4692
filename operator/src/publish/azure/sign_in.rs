//! Tokens for the resource manager: OAuth 2.0 client credentials (RFC 6749 section 4.4), proved by a client secret or by
//! a token of the cluster (RFC 7523). A token is kept until shortly before its end.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

use super::cloud::{Cloud, Site, WorkloadIdentity};
use super::error::AzureError;
use super::http::{Deadline, Http, Question, words};
use super::{SEGMENT, encoded};
use crate::clock::Clock;

/// Before its end a token is not used any more; of one that lives shorter, half its life.
const MARGIN: Duration = Duration::from_mins(5);
/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
const LONGEST_TOKEN_FILE: u64 = 64 * 1024;
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who signs in, and how that is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    Secret { tenant: String, client: String, secret: ClientSecret },
    WorkloadIdentity(WorkloadIdentity),
}

impl Credentials {
    pub fn client(&self) -> &str {
        match self {
            Self::Secret { client, .. } | Self::WorkloadIdentity(WorkloadIdentity { client, .. }) => client,
        }
    }

    fn tenant(&self) -> &str {
        match self {
            Self::Secret { tenant, .. } | Self::WorkloadIdentity(WorkloadIdentity { tenant, .. }) => tenant,
        }
    }
}

/// Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Without the line break that files end with.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The header that carries it; `Debug` of it shows nothing.
pub type Token = HeaderValue;

pub struct SignIn {
    authority: Site,
    scope: String,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<(Token, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds.
    expires_in: u64,
}

impl SignIn {
    pub fn new(cloud: &Cloud, credentials: Credentials, clock: Arc<dyn Clock>) -> Self {
        let scope = format!("{}/.default", cloud.resource_manager);
        Self { authority: cloud.authority.clone(), scope, credentials, clock, kept: Mutex::default() }
    }

    pub fn client(&self) -> &str {
        self.credentials.client()
    }

    /// The one that is kept, or a new one.
    pub async fn token(&self, http: &Http, deadline: Deadline) -> Result<Token, AzureError> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.instant();
        if let Some((token, _)) = kept.as_ref().filter(|(_, until)| now < *until) {
            return Ok(token.clone());
        }
        let (token, life) = self.asked(http, deadline).await?;
        let life = life.min(LONGEST_LIFE);
        *kept = Some((token.clone(), now + life.saturating_sub(MARGIN.min(life / 2))));
        Ok(token)
    }

    /// The resource manager does not take it, whatever its end.
    pub async fn forget(&self, token: &Token) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|(kept, _)| kept == token) {
            *kept = None;
        }
    }

    async fn asked(&self, http: &Http, deadline: Deadline) -> Result<(Token, Duration), AzureError> {
        let (client, tenant) = (self.credentials.client(), self.credentials.tenant());
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", client), ("scope", &self.scope)];
        let proof = match &self.credentials {
            Credentials::Secret { secret, .. } => secret.0.clone(),
            Credentials::WorkloadIdentity(identity) => read(&identity.token_file).await?,
        };
        match &self.credentials {
            Credentials::Secret { .. } => form.push(("client_secret", &proof)),
            Credentials::WorkloadIdentity(_) => {
                form.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", proof.as_str())]);
            }
        }
        let pairs = form.iter().map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, SEGMENT)));
        let question = Question {
            site: self.authority.clone(),
            method: Method::POST,
            path: format!("/{}/oauth2/v2.0/token", encoded(tenant)),
            content_type: "application/x-www-form-urlencoded",
            body: pairs.collect::<Vec<_>>().join("&").into(),
            authorization: None,
        };
        let answer = http.ask(&question, deadline).await?;
        let host = self.authority.place();
        if answer.status != StatusCode::OK {
            let message = words(&answer.body, Some(&proof));
            return Err(AzureError::SignIn { host, tenant: tenant.to_owned(), client: client.to_owned(), message });
        }
        // What cannot be read may hold a token: the error must not cite it.
        let unreadable = || AzureError::Unreadable { host: host.clone(), what: "no access_token in it".to_owned() };
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| unreadable())?;
        let token = HeaderValue::from_str(&format!("Bearer {}", granted.access_token));
        let mut token = token.map_err(|_| unreadable())?;
        token.set_sensitive(true);
        Ok((token, Duration::from_secs(granted.expires_in)))
    }
}

/// Each time anew: the kubelet exchanges it.
async fn read(path: &Path) -> Result<String, AzureError> {
    let failed = |source| AzureError::TokenFile { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(LONGEST_TOKEN_FILE).read_to_string(&mut text).await.map_err(failed)?;
    let text = text.trim();
    if text.is_empty() { Err(failed(io::Error::other("the file is empty"))) } else { Ok(text.to_owned()) }
}
