//! A profile of Azure Traffic Manager, whose endpoints are named like regions: those of regions with callers are enabled,
//! with the region's part as weight, or in its order as priority.
//!
//! The profile and its endpoints are the user's. `change` says what is written, and there is neither a record of an owner
//! nor a version that a write could name (the API documents no ETags), so what is `Expected` is not looked at.
//! Instead every step can be repeated, and is decided on what the profile is: a leader that goes on reaches its answer,
//! whatever a former one has written meanwhile. Each write is sent once, under the Lease only, and an endpoint is disabled
//! right after a look that shows another with callers. A write that fails is followed by a look, and so is one that a newer
//! answer overtakes. A write that a former leader had sent and that arrives late can still disable that other one; the last
//! look of a publication, or the next one, finds and mends it.

mod change;
mod cloud;
mod error;
mod http;
mod profile;
mod sign_in;

use std::sync::Arc;

use ::http::{Method, StatusCode};
use futures::future::BoxFuture;
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::sync::Mutex;

use self::change::{Change, Patch, at_once, change, down};
pub use self::cloud::{Cloud, NoSite, Site, WorkloadIdentity};
pub use self::error::AzureError;
use self::http::{Answer, Deadline, Http, Question, words};
use self::profile::Profile;
pub use self::profile::ProfileId;
pub use self::sign_in::{ClientSecret, Credentials};
use self::sign_in::{SignIn, Token};
use super::{
    Agreement, DnsName, Expected, Lag, Outcome, Owner, Ownership, PublishError, Published, Publisher, RecordSet, Share,
    Withdrawn,
};
use crate::clock::Clock;

const API_VERSION: &str = "2022-04-01";
/// Who tells it to callers.
const TRAFFIC_MANAGER: &str = "Azure Traffic Manager";
/// Looks at the profile in one publication: one for each endpoint of 16 regions that is disabled, and some to spare.
const LOOKS: usize = 40;
/// What stands for itself in a URL (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether this process may write, asked right before each write.
pub type MayWrite = Arc<dyn Fn() -> bool + Send + Sync>;

/// One profile.
pub struct TrafficManager {
    id: Arc<ProfileId>,
    resource_manager: Site,
    http: Arc<Http>,
    sign_in: SignIn,
    may_write: MayWrite,
    /// Held while a write is under way.
    writing: Arc<Mutex<()>>,
}

impl TrafficManager {
    /// `seed` makes the jitter of waits.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(
        id: ProfileId,
        cloud: &Cloud,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
        may_write: MayWrite,
        seed: u64,
    ) -> Result<Self, rustls::Error> {
        let sign_in = SignIn::new(cloud, credentials, clock);
        let id = Arc::new(id);
        let (resource_manager, http) = (cloud.resource_manager.clone(), Arc::new(Http::new(seed)?));
        Ok(Self { id, resource_manager, http, sign_in, may_write, writing: Arc::default() })
    }

    /// Step by step, each decided on what there is, until nothing is left to do.
    async fn bring(&self, shares: &[Share]) -> Result<Outcome, AzureError> {
        let deadline = Deadline::start();
        let mut outcome = Outcome::AlreadyThere;
        let mut refused: Option<(Patch, AzureError)> = None;
        let mut failed = 0;
        for _ in 0..LOOKS {
            let Change { patches, missing } = change(&self.id, &self.profile(deadline).await?, shares)?;
            let Some(first) = patches.first() else {
                let profile = Arc::clone(&self.id);
                let is_done = missing.is_empty();
                return if is_done { Ok(outcome) } else { Err(AzureError::NoEndpoint { profile, regions: missing }) };
            };
            // A refusal counts if it is still to be done: somebody else may have changed what it was about.
            if let Some((_, error)) = refused.take().filter(|(patch, _)| patch == first) {
                return Err(error);
            }
            for patch in at_once(&patches) {
                match self.write(patch, deadline).await {
                    Ok(()) => (outcome, failed) = (Outcome::Written, 0),
                    Err(error) if error.is_refusal() => {
                        refused = Some((patch.clone(), error));
                        break;
                    }
                    // It may have been done. Not sent again before another look says that it is still to be done.
                    Err(error) => {
                        (outcome, failed) = (Outcome::Written, failed + 1);
                        self.http.rest(error, failed, deadline).await?;
                        break;
                    }
                }
            }
        }
        Err(AzureError::Contended { profile: Arc::clone(&self.id) })
    }

    async fn asked(&self, shares: &[Share]) -> Result<Agreement, AzureError> {
        let profile = self.profile(Deadline::start()).await?;
        let Change { patches, missing } = change(&self.id, &profile, shares)?;
        let down: Vec<&str> = down(&profile, shares).map(|endpoint| endpoint.name.as_str()).collect();
        let behind = if !patches.is_empty() {
            Some(format!("{} is not as it was published", self.id))
        } else if !missing.is_empty() {
            Some(format!("{} has no endpoint named {}", self.id, missing.join(", ")))
        } else if !down.is_empty() {
            Some(format!("its own probes find {} down and leave it out: see the profile's monitoring", down.join(", ")))
        } else {
            None
        };
        let mut agreement = Agreement::default();
        match behind {
            None => agreement.agree.push(TRAFFIC_MANAGER.to_owned()),
            Some(why) => agreement.lag.push((TRAFFIC_MANAGER.to_owned(), Lag::Behind(why))),
        }
        Ok(agreement)
    }

    async fn profile(&self, deadline: Deadline) -> Result<Profile, AzureError> {
        // A write that a former answer has begun is waited for: what is seen is what is.
        drop(self.writing.lock().await);
        let answer = self.look(deadline).await?;
        Profile::read(&self.resource_manager.place(), &answer.body)
    }

    /// A token that is not taken is exchanged once.
    async fn look(&self, deadline: Deadline) -> Result<Answer, AzureError> {
        let mut token = self.sign_in.token(&self.http, deadline).await?;
        let mut answer = self.http.ask(&self.question(Method::GET, "", Bytes::new(), &token), deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.sign_in.forget(&token).await;
            token = self.sign_in.token(&self.http, deadline).await?;
            answer = self.http.ask(&self.question(Method::GET, "", Bytes::new(), &token), deadline).await?;
        }
        self.done(answer, &token).await
    }

    /// Sent once, by one who leads. It is not broken off with the publication that it is of.
    async fn write(&self, patch: &Patch, deadline: Deadline) -> Result<(), AzureError> {
        let Patch { kind, endpoint, properties } = patch;
        let below = format!("/{}/{}", kind.segment(), encoded(endpoint));
        let body = json!({ "properties": properties }).to_string().into();
        let token = self.sign_in.token(&self.http, deadline).await?;
        let (http, question) = (Arc::clone(&self.http), self.question(Method::PATCH, &below, body, &token));
        let writing = Arc::clone(&self.writing).lock_owned().await;
        if !(self.may_write)() {
            return Err(AzureError::NotLeader);
        }
        let sent = tokio::spawn(async move {
            let _writing = writing;
            http.once(&question, deadline).await
        });
        let host = self.resource_manager.place();
        let answer = sent.await.map_err(|error| AzureError::Broken { host, source: error.into() })??;
        self.done(answer, &token).await.map(drop)
    }

    /// About the profile, or about what is `below` it.
    fn question(&self, method: Method, below: &str, body: Bytes, token: &Token) -> Question {
        let ProfileId { subscription, resource_group, profile } = &*self.id;
        let [subscription, resource_group, profile] = [subscription, resource_group, profile].map(|one| encoded(one));
        Question {
            site: self.resource_manager.clone(),
            method,
            path: format!(
                "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Network/trafficmanagerprofiles/{profile}{below}?api-version={API_VERSION}"
            ),
            content_type: "application/json",
            body,
            authorization: Some(token.clone()),
        }
    }

    async fn done(&self, answer: Answer, token: &Token) -> Result<Answer, AzureError> {
        if answer.status == StatusCode::UNAUTHORIZED {
            self.sign_in.forget(token).await;
        }
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(&answer)) }
    }

    fn refusal(&self, answer: &Answer) -> AzureError {
        let (host, profile, message) = (self.resource_manager.place(), Arc::clone(&self.id), words(&answer.body, None));
        let client = self.sign_in.client().to_owned();
        match answer.status {
            StatusCode::UNAUTHORIZED => AzureError::Unauthorized { host, client, profile, message },
            StatusCode::FORBIDDEN => AzureError::Forbidden { host, client, profile, message },
            StatusCode::NOT_FOUND => AzureError::NoProfile { host, client, profile, message },
            status => AzureError::Refused { host, status: status.as_u16(), profile, message },
        }
    }
}

impl Publisher for TrafficManager {
    fn publish<'a>(
        &'a self,
        wanted: &'a RecordSet,
        _expected: &'a Expected,
    ) -> BoxFuture<'a, Result<Published, PublishError>> {
        Box::pin(async {
            let outcome = self.bring(wanted.shares()).await?;
            Ok(Published { server: TRAFFIC_MANAGER.to_owned(), outcome })
        })
    }

    fn agreement<'a>(&'a self, wanted: &'a RecordSet) -> BoxFuture<'a, Result<Agreement, PublishError>> {
        Box::pin(async { Ok(self.asked(wanted.shares()).await?) })
    }

    /// Changes nothing: the endpoints are the user's, and to enable those of dead regions would do harm.
    fn withdraw<'a>(&'a self, _name: &'a DnsName, _owner: &'a Owner) -> BoxFuture<'a, Result<Withdrawn, PublishError>> {
        Box::pin(async { Ok(Withdrawn::NotOurs(Ownership::Nobody)) })
    }
}

/// As one part of a path.
fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}
