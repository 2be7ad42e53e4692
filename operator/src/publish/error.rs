//! Why an answer could not be published or read.

use std::{io, net::IpAddr, time::Duration};

use super::azure::AzureError;
use super::{Answer, DnsName};
use crate::error::{Categorised, Category};
use crate::kube_io::IoError;

/// `server` is always as configured, or as the zone names it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(
        "{server}: does not know the key {key} with {algorithm}, or lets it do nothing of this: compare name and algorithm with the server's configuration, and what the zone allows (docs/dns-providers.md)"
    )]
    UnknownKey { server: String, key: String, algorithm: &'static str },
    #[error("{server}: the signature of key {key} is wrong: the secret differs from the server's, copy it again")]
    WrongSecret { server: String, key: String },
    #[error(
        "{server}: its clock and ours differ by {seconds} s, and 300 s are allowed (RFC 8945 section 5.2.3): let NTP set both"
    )]
    ClockSkew { server: String, seconds: u64 },
    #[error(
        "{server}: refuses to update {name}: allow key {key} to write A and AAAA at {name} and TXT at _rtc-fleet.{name} (docs/dns-providers.md); PowerDNS says no more of a wrong key or clock"
    )]
    Refused { server: String, name: DnsName, key: String },
    #[error("{server}: refuses to answer questions about {name}: allow queries from here, as callers ask the same")]
    QueryRefused { server: String, name: DnsName },
    #[error(
        "{server}: is no authoritative server of zone {zone}: name the zone's primary, and the zone as its SOA does"
    )]
    NotAuthoritative { server: String, zone: DnsName },
    #[error("{name} is not in zone {zone}: write a name that ends in .{zone}, or name the zone that holds it")]
    NotInZone { name: DnsName, zone: DnsName },
    #[error("{server}: takes no updates (RFC 2136): name the zone's primary, or let it be one that does")]
    NotImplemented { server: String },
    #[error(
        "{server}: {name} is in use by somebody else ({found}): nothing was changed; remove what is there, publish another name, or say that it may be taken over"
    )]
    Foreign { server: String, name: DnsName, found: Box<Answer> },
    #[error("{server}: {name} is an alias (CNAME) for {target}: remove it, an alias has no addresses of its own")]
    Alias { server: String, name: DnsName, target: String },
    /// Of the same owner, or gone: another writer was faster.
    #[error(
        "{server}: {name} has been changed meanwhile and is now {found}: nothing was written; decide again from that"
    )]
    Conflict { server: String, name: DnsName, found: Box<Answer> },
    #[error("{server}: no address is known for it: correct the name, or wait for the resolver")]
    Unresolved { server: String, source: Option<io::Error> },
    #[error("{server}: no connection to {address} (TCP)")]
    Connect { server: String, address: IpAddr, source: io::Error },
    #[error("{server}: no connection in {seconds} s (TCP)")]
    ConnectTimeout { server: String, seconds: u64 },
    #[error("{server}: no answer in {seconds} s; what was asked may have been done")]
    NoAnswer { server: String, seconds: u64 },
    #[error("{server}: the connection broke off; what was asked may have been done")]
    Broken { server: String, source: io::Error },
    #[error("{server}: could not do it now (SERVFAIL): its log says why")]
    Failed { server: String },
    #[error("{server}: an answer of {octets} octets, more than {limit}: are there other records at this name?")]
    TooLong { server: String, octets: usize, limit: usize },
    #[error("{server}: the answer is no DNS message, or not to what was asked: {what}")]
    Unreadable { server: String, what: String },
    #[error("{server}: the answer is not signed with key {key} (RFC 8945 section 5.3): something between changes it")]
    NotSigned { server: String, key: String },
    #[error("{server}: answered {code}, which is not foreseen")]
    Unforeseen { server: String, code: String },
    #[error(
        "the cluster knows no DNSEndpoint (externaldns.k8s.io): install external-dns with its CRD (docs/dns-providers.md)"
    )]
    NoDnsEndpoints,
    #[error(transparent)]
    Kubernetes(IoError),
    #[error(transparent)]
    Azure(#[from] AzureError),
    #[error("a DNS message cannot be written: {what}")]
    Unwritable { what: String },
    /// No server did it, each for its own reason.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<PublishError>),
}

impl PublishError {
    /// How long the provider does not want to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Azure(error) = self { error.retry_after() } else { None }
    }

    /// The Lease was lost on the way: there is nothing to mend.
    pub fn is_of_a_former_leader(&self) -> bool {
        matches!(self, Self::Azure(AzureError::NotLeader))
    }

    /// Another server of the same zone would say the same.
    pub(super) fn is_about_the_name(&self) -> bool {
        matches!(
            self,
            Self::Foreign { .. }
                | Self::Alias { .. }
                | Self::Conflict { .. }
                | Self::NotInZone { .. }
                | Self::Unwritable { .. }
        )
    }

    /// One error of those of all servers, which is never none.
    pub(super) fn of_all(mut errors: Vec<PublishError>) -> Self {
        if errors.len() == 1 { errors.remove(0) } else { Self::Several(errors) }
    }
}

impl Categorised for PublishError {
    fn category(&self) -> Category {
        match self {
            Self::UnknownKey { .. }
            | Self::WrongSecret { .. }
            | Self::ClockSkew { .. }
            | Self::Refused { .. }
            | Self::QueryRefused { .. }
            | Self::NotAuthoritative { .. }
            | Self::NotInZone { .. }
            | Self::NotImplemented { .. }
            | Self::Foreign { .. }
            | Self::Alias { .. }
            | Self::NoDnsEndpoints => Category::UserMustAct,
            Self::Kubernetes(error) => error.category(),
            Self::Azure(error) => error.category(),
            Self::Conflict { .. }
            | Self::Unresolved { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::Failed { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::NotSigned { .. } => Category::Retry,
            Self::Unforeseen { .. } | Self::Unwritable { .. } => Category::Bug,
            // One server that comes back is enough.
            Self::Several(errors) => match errors.iter().find(|error| error.category() == Category::Retry) {
                Some(_) => Category::Retry,
                None => errors.first().map_or(Category::Bug, Self::category),
            },
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } | Self::WrongSecret { .. } => "DnsKeyRejected",
            Self::ClockSkew { .. } => "DnsClockSkew",
            Self::Refused { .. } | Self::QueryRefused { .. } | Self::NotImplemented { .. } => "DnsRefused",
            Self::NotAuthoritative { .. } | Self::NotInZone { .. } => "DnsZoneWrong",
            Self::Foreign { .. } | Self::Alias { .. } => "DnsNameInUse",
            Self::Conflict { .. } => "DnsConflict",
            Self::Unresolved { .. } | Self::Connect { .. } | Self::ConnectTimeout { .. } => "DnsUnreachable",
            Self::NoAnswer { .. } | Self::Broken { .. } | Self::Failed { .. } => "DnsUnresponsive",
            Self::TooLong { .. } | Self::Unreadable { .. } | Self::NotSigned { .. } | Self::Unforeseen { .. } => {
                "DnsAnswerUnreadable"
            }
            Self::NoDnsEndpoints => "DnsEndpointsUnknown",
            Self::Kubernetes(error) => error.reason(),
            Self::Azure(error) => error.reason(),
            Self::Unwritable { .. } => "InternalError",
            Self::Several(errors) => {
                let category = self.category();
                errors.iter().find(|error| error.category() == category).map_or("InternalError", Self::reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> PublishError {
        PublishError::Refused { server: "a".into(), name: "turn.example.org".parse().unwrap(), key: "k".into() }
    }

    fn silent() -> PublishError {
        PublishError::NoAnswer { server: "b".into(), seconds: 3 }
    }

    #[test]
    fn of_several_servers_one_that_may_come_back_is_worth_another_try() {
        for (case, errors, category, reason) in [
            ("both refuse", vec![refused(), refused()], Category::UserMustAct, "DnsRefused"),
            ("one is silent", vec![refused(), silent()], Category::Retry, "DnsUnresponsive"),
        ] {
            let error = PublishError::of_all(errors);
            assert_eq!((error.category(), error.reason()), (category, reason), "{case}: {error}");
        }
        assert!(PublishError::of_all(vec![refused(), silent()]).to_string().contains("; b: no answer in 3 s"));
    }
}
