//! Why Traffic Manager could not be told or asked. Nothing here holds a secret or a token.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::profile::ProfileId;
use crate::error::{Categorised, Category};

/// `host` is always `HOST:PORT`, as a firewall would see it.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    #[error("{host}: cannot be reached (TCP and TLS): let the operator out to it")]
    Unreachable { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host}: the connection broke off; what was asked may have been done")]
    Broken { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host}: no answer in {seconds} s; what was asked may have been done")]
    NoAnswer { host: String, seconds: u64 },
    #[error("{host}: could not do it now ({status}): {message}")]
    Busy { host: String, status: u16, message: String, retry_after: Option<Duration> },
    #[error("{host}: not done in {seconds} s: what is left is done next")]
    OutOfTime { host: String, seconds: u64 },
    #[error("{profile} is changed by somebody else at the same time: let one DnsFailover alone change it")]
    Contended { profile: Arc<ProfileId> },
    #[error("another replica leads: nothing more is written")]
    NotLeader,
    #[error("{host}: an answer of more than {limit} octets: is it the resource manager of Azure?")]
    TooLong { host: String, limit: usize },
    #[error("{host}: the answer is none to that question: {what}")]
    Unreadable { host: String, what: String },
    #[error(
        "{host}: does not let client {client} of tenant {tenant} sign in: {message}: correct tenant, client and secret, or the federated credential of the workload identity (docs/dns-providers.md)"
    )]
    SignIn { host: String, tenant: String, client: String, message: String },
    #[error(
        "{}: no token of the workload identity: label the operator's pods azure.workload.identity/use: \"true\" and let the webhook of workload identity mount it", .path.display()
    )]
    TokenFile { path: PathBuf, source: io::Error },
    #[error(
        "{host}: takes no token of client {client}: give it the role \"Traffic Manager Contributor\" on {profile}, in the subscription's own tenant: {message}"
    )]
    Unauthorized { host: String, client: String, profile: Arc<ProfileId>, message: String },
    #[error(
        "{host}: client {client} may not do it: give it the role \"Traffic Manager Contributor\" on {profile}: {message}"
    )]
    Forbidden { host: String, client: String, profile: Arc<ProfileId>, message: String },
    #[error(
        "{host}: there is no {profile}, or client {client} may not see it: correct subscriptionId, resourceGroup and profile: {message}"
    )]
    NoProfile { host: String, client: String, profile: Arc<ProfileId>, message: String },
    #[error(
        "{host}: refuses with {status}: {message}: mend {profile}, or the resource manager that the operator is told"
    )]
    Refused { host: String, status: u16, profile: Arc<ProfileId>, message: String },
    #[error("{profile} is disabled, so nobody has an answer: enable it")]
    ProfileDisabled { profile: Arc<ProfileId> },
    #[error(
        "{profile} routes by {method}, which knows no parts of regions: set its routing method to Weighted, or to Priority"
    )]
    RoutingMethod { profile: Arc<ProfileId>, method: String },
    #[error(
        "{profile} has no endpoint named {}: create one for each, of the type external endpoint, with the region's name and the address of its relays", .regions.join(", ")
    )]
    NoEndpoint { profile: Arc<ProfileId>, regions: Vec<String> },
}

impl AzureError {
    /// Another try may do it.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::NoAnswer { .. } | Self::Busy { .. })
    }

    /// How long not to ask again, in its own words.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { retry_after, .. } = self { *retry_after } else { None }
    }

    /// It was told to do something and said no. What it was told may have been about what is no longer so.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::NoProfile { .. } | Self::Refused { .. })
    }
}

impl Categorised for AzureError {
    fn category(&self) -> Category {
        match self {
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::NoAnswer { .. }
            | Self::Busy { .. }
            | Self::OutOfTime { .. }
            | Self::Contended { .. }
            | Self::NotLeader
            | Self::TooLong { .. }
            | Self::Unreadable { .. } => Category::Retry,
            Self::SignIn { .. }
            | Self::TokenFile { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NoProfile { .. }
            | Self::Refused { .. }
            | Self::ProfileDisabled { .. }
            | Self::RoutingMethod { .. }
            | Self::NoEndpoint { .. } => Category::UserMustAct,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "AzureUnreachable",
            Self::Broken { .. } | Self::NoAnswer { .. } | Self::Busy { .. } | Self::OutOfTime { .. } => {
                "AzureUnresponsive"
            }
            Self::Contended { .. } => "AzureProfileContended",
            Self::NotLeader => "NotLeader",
            Self::TooLong { .. } | Self::Unreadable { .. } => "AzureAnswerUnreadable",
            Self::SignIn { .. } | Self::TokenFile { .. } => "AzureSignInFailed",
            Self::Unauthorized { .. } | Self::Forbidden { .. } => "AzureForbidden",
            Self::NoProfile { .. } => "AzureProfileMissing",
            Self::Refused { .. } => "AzureRefused",
            Self::ProfileDisabled { .. } | Self::RoutingMethod { .. } => "AzureProfileUnusable",
            Self::NoEndpoint { .. } => "AzureEndpointMissing",
        }
    }
}
