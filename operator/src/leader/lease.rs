//! The record in the cluster: a `coordination.k8s.io/v1` Lease.

use std::{future::Future, sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
};

use super::Record;
use crate::{
    clock::Clock,
    error::with_causes,
    kube_io::{self, is_already_exists, is_conflict, is_not_found},
};

/// Two tries fit between two renewals and the deadline.
const CALL: Duration = Duration::from_secs(2);

/// Where the record is kept. A trait, so that the election can be tested against a fake one.
pub trait LeaseApi: Send + Sync {
    fn read(&self) -> impl Future<Output = Result<Option<Record>, LeaseError>> + Send;
    /// The record as it stands afterwards.
    fn create(&self, record: &Record) -> impl Future<Output = Result<Record, LeaseError>> + Send;
    /// Replaces the version that `record` carries, and no other.
    fn replace(&self, record: &Record) -> impl Future<Output = Result<Record, LeaseError>> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("somebody else wrote the Lease first")]
    Conflict,
    #[error("the API server gave no answer in {CALL:?}")]
    NoAnswer,
    #[error("{}", with_causes(&**.0))]
    Refused(Box<kube::Error>),
}

impl From<kube::Error> for LeaseError {
    fn from(error: kube::Error) -> Self {
        // A Lease that is gone when it is replaced has changed, too.
        if is_conflict(&error) || is_already_exists(&error) || is_not_found(&error) {
            Self::Conflict
        } else {
            Self::Refused(Box::new(error))
        }
    }
}

/// The lease has a client of its own: no retry, nothing shared with requests that may hang, short waits.
pub fn client_config(config: Config) -> Config {
    let mut config = kube_io::config(config);
    config.connect_timeout = Some(CALL);
    config.read_timeout = Some(CALL * 2);
    config.write_timeout = Some(CALL);
    config
}

/// Differs between two processes of one pod: a container that starts again is not the holder that crashed.
pub fn identity(pod_name: &str, random: u32) -> String {
    format!("{pod_name}_{random:08x}")
}

/// The pod in an [`identity`]. Pod names have no underscore.
pub fn holder_pod(identity: &str) -> &str {
    identity.split_once('_').map_or(identity, |(pod, _)| pod)
}

/// The Lease in the cluster.
pub struct KubeLease {
    api: Api<Lease>,
    namespace: String,
    name: String,
    clock: Arc<dyn Clock>,
}

impl KubeLease {
    pub fn new(client: Client, namespace: &str, name: &str, clock: Arc<dyn Clock>) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.into(), name: name.into(), clock }
    }

    fn lease(&self, record: &Record) -> Lease {
        // The times are for people: nobody judges by them.
        let now = self.clock.now();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                resource_version: Some(record.version.clone()).filter(|version| !version.is_empty()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_transitions: Some(record.transitions),
                lease_duration_seconds: i32::try_from(record.lease.as_secs()).ok().map(|seconds| seconds.max(1)),
                renew_time: Some(MicroTime(now)),
                acquire_time: Some(MicroTime(record.acquired.unwrap_or(now))),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or(0),
        lease: Duration::from_secs(seconds),
        acquired: spec.acquire_time.map(|time| time.0),
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}

async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(CALL, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LeaseError::NoAnswer),
    }
}

impl LeaseApi for KubeLease {
    async fn read(&self) -> Result<Option<Record>, LeaseError> {
        Ok(bounded(self.api.get_opt(&self.name)).await?.map(record))
    }

    async fn create(&self, wanted: &Record) -> Result<Record, LeaseError> {
        bounded(self.api.create(&params(), &self.lease(wanted))).await.map(record)
    }

    async fn replace(&self, wanted: &Record) -> Result<Record, LeaseError> {
        bounded(self.api.replace(&self.name, &params(), &self.lease(wanted))).await.map(record)
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(kube_io::MANAGER.into()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        kube_io::testing::{Scenario, answer, refusal},
    };

    #[test]
    fn the_holders_pod_is_read_from_the_identity_of_any_of_its_processes() {
        assert_eq!(holder_pod(&identity("rtc-fleet-operator-5d9-x2x", 0xbeef)), "rtc-fleet-operator-5d9-x2x");
        assert_eq!(holder_pod("laptop"), "laptop");
    }

    #[tokio::test]
    async fn a_renewal_replaces_exactly_the_version_that_was_seen() {
        let (client, scenario) = Scenario::start(|request| {
            assert_eq!(request.method, "PUT");
            let mut lease: Lease = request.json();
            assert_eq!(lease.metadata.resource_version.as_deref(), Some("41"));
            let spec = lease.spec.as_ref().unwrap();
            assert_eq!(spec.holder_identity.as_deref(), Some("a_1"));
            assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(10), Some(3)));
            let (acquired, renewed) = (spec.acquire_time.as_ref().unwrap().0, spec.renew_time.as_ref().unwrap().0);
            assert!(acquired.to_string().starts_with("2026-01-01T12:00:00") && renewed > acquired);
            lease.metadata.resource_version = Some("42".into());
            answer(&lease)
        });
        let lease = KubeLease::new(client, "rtc-fleet-system", "rtc-fleet-operator", Arc::new(SystemClock));
        let wanted = Record {
            holder: "a_1".into(),
            transitions: 3,
            lease: Duration::from_secs(10),
            acquired: Some("2026-01-01T12:00:00Z".parse().unwrap()),
            version: "41".into(),
        };
        let written = lease.replace(&wanted).await.unwrap();
        assert_eq!(written, Record { version: "42".into(), ..wanted });
        scenario.expect_requests(1).await;
    }

    #[tokio::test]
    async fn a_write_that_lost_a_race_is_a_conflict_whichever_way_it_lost() {
        for (case, code, reason) in [
            ("renewed by another", 409, "Conflict"),
            ("created by another", 409, "AlreadyExists"),
            ("deleted meanwhile", 404, "NotFound"),
        ] {
            let (client, _scenario) = Scenario::start(move |_| refusal(code, reason));
            let lease = KubeLease::new(client, "rtc-fleet-system", "rtc-fleet-operator", Arc::new(SystemClock));
            let wanted = Record {
                holder: "a_1".into(),
                transitions: 0,
                lease: Duration::from_secs(10),
                acquired: None,
                version: "1".into(),
            };
            assert!(matches!(lease.replace(&wanted).await, Err(LeaseError::Conflict)), "{case}");
        }
    }
}
