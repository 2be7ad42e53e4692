//! A `DNSEndpoint` for external-dns, which writes to the zone: one object a name, named like it.
//!
//! Who owns it stands in an annotation, as `Owner` writes it. Every write carries the `resourceVersion` of what it
//! replaces, so the API server is the compare-and-swap. What callers are told is up to external-dns and its provider;
//! that it has looked at an object as it is now is told by `status.observedGeneration`.

mod endpoint;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use rtcfleet_crds::labels;

use self::endpoint::{DNSEndpoint, DNSEndpointSpec};
use super::{
    Addresses, Agreement, Answer, DnsName, Expected, Lag, Outcome, Owner, Ownership, PublishError, Published,
    Publisher, RecordSet, Withdrawn, verdict,
};
use crate::decisions::ObjectRef;
use crate::identity::Identity;
use crate::kube_io::{self, Deletion, IoError, is_already_exists, is_conflict, is_not_found};

/// The `Owner` of the name.
const OWNER: &str = "rtcfleet.dev/owner";
/// Keys of the labels that we have set, so that one that is not wanted any more goes.
const LABELS: &str = "rtcfleet.dev/labels";
/// Who tells it to callers.
const EXTERNAL_DNS: &str = "external-dns";
const KIND: &str = "DNSEndpoint";
/// Words of ownership that are told.
const LONGEST_WORDS: usize = 100;

/// How regions share the callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// One set of addresses, which every provider of external-dns knows.
    Simple,
    /// A set for each region, with its name as set identifier and `aws/weight` as its part: for Route 53.
    Weighted,
}

/// The objects of one DnsFailover.
pub struct ExternalDns {
    api: Api<DNSEndpoint>,
    /// Whose they are, for Kubernetes.
    of: Identity,
    labels: BTreeMap<String, String>,
    routing: Routing,
}

impl ExternalDns {
    /// `labels` of the objects, where external-dns looks at some only.
    pub fn new(client: Client, of: Identity, mut labels: BTreeMap<String, String>, routing: Routing) -> Self {
        let ours = [(labels::MANAGED_BY, labels::MANAGER), (labels::DNS_FAILOVER, &of.name)];
        labels.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Self { api: Api::namespaced(client, &of.namespace), of, labels, routing }
    }

    async fn swap(&self, wanted: &RecordSet, expected: &Expected) -> Result<Published, PublishError> {
        let place = self.place(wanted.name());
        let live = self.read(wanted.name()).await?;
        let object = self.object(wanted, live.as_ref());
        let done = |outcome| Ok(Published { server: place.clone(), outcome });
        if live.as_ref().is_some_and(|live| endpoint::is_same(live, &object)) {
            return done(Outcome::AlreadyThere);
        }
        let found = found(live.as_ref());
        if !holds(expected, wanted, &found) {
            return Err(verdict::refusal(wanted, expected, found, place));
        }
        let (name, params) = (wanted.name().as_str(), PostParams::default());
        let reference = self.reference(wanted.name());
        let written = match &live {
            None => kube_io::call("create", reference, self.api.create(&params, &object)).await,
            Some(_) => kube_io::call("replace", reference, self.api.replace(name, &params, &object)).await,
        };
        match written {
            Ok(_) => done(Outcome::Written),
            Err(error) if is_overtaken(&error, live.is_some()) => {
                let found = self::found(self.read(wanted.name()).await?.as_ref());
                Err(verdict::refusal(wanted, expected, found, place))
            }
            // What was not there is created, so what is not found is the kind.
            Err(error) if error.api().is_some_and(is_not_found) => Err(PublishError::NoDnsEndpoints),
            Err(error) => Err(PublishError::Kubernetes(error)),
        }
    }

    async fn asked(&self, wanted: &RecordSet) -> Result<Agreement, PublishError> {
        let mut agreement = Agreement::default();
        let live = self.read(wanted.name()).await?;
        let behind = match &live {
            Some(live) if live.spec == self.spec(wanted) => endpoint::not_taken(live),
            _ => Some(format!("{} is not as it was published", self.place(wanted.name()))),
        };
        match behind {
            None => agreement.agree.push(EXTERNAL_DNS.to_owned()),
            Some(why) => agreement.lag.push((EXTERNAL_DNS.to_owned(), Lag::Behind(why))),
        }
        Ok(agreement)
    }

    async fn remove(&self, name: &DnsName, owner: &Owner) -> Result<Withdrawn, PublishError> {
        let Some(live) = self.read(name).await? else { return Ok(Withdrawn::NotOurs(Ownership::Nobody)) };
        let found = found(Some(&live));
        if !found.owner.is(owner) {
            return Ok(Withdrawn::NotOurs(found.owner));
        }
        match kube_io::delete(&self.api, &live).await {
            Ok(Deletion::Requested | Deletion::AlreadyGone) => Ok(Withdrawn::Removed),
            Ok(Deletion::Changed) => {
                Err(PublishError::Conflict { server: self.place(name), name: name.clone(), found: Box::new(found) })
            }
            Err(error) => Err(PublishError::Kubernetes(error)),
        }
    }

    async fn read(&self, name: &DnsName) -> Result<Option<DNSEndpoint>, PublishError> {
        let request = self.api.get_opt(name.as_str());
        match kube_io::call("read", self.reference(name), request).await {
            Ok(live) => Ok(live),
            Err(error) => Err(PublishError::Kubernetes(error)),
        }
    }

    /// What `wanted` is as an object. What others have put on it stays.
    fn object(&self, wanted: &RecordSet, live: Option<&DNSEndpoint>) -> DNSEndpoint {
        let ours = self.of.child("DnsFailover", wanted.name().as_str().to_owned(), self.labels.clone());
        let mut meta = live.map_or_else(|| ours.clone(), |live| live.metadata.clone());
        let (labels, annotations) = (meta.labels.get_or_insert_default(), meta.annotations.get_or_insert_default());
        let before = annotations.get(LABELS).map(String::as_str).unwrap_or_default();
        labels.retain(|key, _| !before.split(',').any(|one| one == key));
        labels.extend(self.labels.clone());
        annotations.insert(LABELS.to_owned(), self.labels.keys().cloned().collect::<Vec<_>>().join(","));
        annotations.insert(OWNER.to_owned(), wanted.owner().to_string());
        let owners = meta.owner_references.get_or_insert_default();
        let missing = ours.owner_references.into_iter().flatten().filter(|one| !owners.contains(one));
        let missing: Vec<_> = missing.collect();
        owners.extend(missing);
        meta.managed_fields = None;
        DNSEndpoint { metadata: meta, spec: self.spec(wanted), status: None }
    }

    fn spec(&self, wanted: &RecordSet) -> DNSEndpointSpec {
        DNSEndpointSpec { endpoints: endpoint::endpoints(wanted, self.routing) }
    }

    fn place(&self, name: &DnsName) -> String {
        format!("{KIND} {}/{name}", self.of.namespace)
    }

    fn reference(&self, name: &DnsName) -> ObjectRef {
        ObjectRef::new(KIND, &self.of.namespace, name.as_str())
    }
}

impl Publisher for ExternalDns {
    fn publish<'a>(
        &'a self,
        wanted: &'a RecordSet,
        expected: &'a Expected,
    ) -> BoxFuture<'a, Result<Published, PublishError>> {
        Box::pin(self.swap(wanted, expected))
    }

    fn agreement<'a>(&'a self, wanted: &'a RecordSet) -> BoxFuture<'a, Result<Agreement, PublishError>> {
        Box::pin(self.asked(wanted))
    }

    fn withdraw<'a>(&'a self, name: &'a DnsName, owner: &'a Owner) -> BoxFuture<'a, Result<Withdrawn, PublishError>> {
        Box::pin(self.remove(name, owner))
    }
}

/// Somebody else was faster: it is another one, is there already, or is there no more.
fn is_overtaken(error: &IoError, was_there: bool) -> bool {
    error.api().is_some_and(|api| is_conflict(api) || is_already_exists(api) || (was_there && is_not_found(api)))
}

/// An object as an answer.
fn found(live: Option<&DNSEndpoint>) -> Answer {
    let Some(live) = live else {
        return Answer { addresses: Addresses::default(), owner: Ownership::Nobody };
    };
    let written = live.annotations().get(OWNER);
    let owner = written.and_then(|text| text.parse().ok()).map_or_else(|| unreadable(written), Ownership::Owner);
    Answer { addresses: endpoint::addresses(live), owner }
}

fn unreadable(written: Option<&String>) -> Ownership {
    let words = written.map_or_else(|| format!("no annotation {OWNER}"), String::clone);
    let words: String = words.chars().take(LONGEST_WORDS).collect();
    Ownership::Unreadable([vec![words.into_bytes()]].into())
}

/// Whether what is there may be replaced. Addresses do not count: they are not all of an object, and nobody else writes
/// under our claim.
fn holds(expected: &Expected, wanted: &RecordSet, found: &Answer) -> bool {
    match expected {
        Expected::Nothing => found.owner == Ownership::Nobody,
        Expected::Ours(_) => found.owner == Ownership::Owner(wanted.owner().clone()),
        Expected::TakeOver(answer) => found == answer,
    }
}

#[cfg(test)]
mod tests;
