//! Publishers, answers and a clock that tests turn.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use operator::clock::Clock;
use operator::publish::azure::{
    AzureError, ClientSecret, Cloud, Credentials, MayWrite, ProfileId, TrafficManager, WorkloadIdentity,
};
use operator::publish::{Addresses, Expected, Outcome, Owner, PublishError, Publisher as _, RecordSet, Share, Ttl};

use crate::stand_in::{Azure, PROFILE, RESOURCE_GROUP, SECRET, SUBSCRIPTION, TENANT};

/// Stands still unless it is turned.
pub struct TurnedClock(Mutex<Instant>);

impl TurnedClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Instant::now())))
    }

    pub fn turn(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

pub fn cloud(azure: &Azure) -> Cloud {
    let site = format!("http://{}", azure.address).parse::<operator::publish::azure::Site>().unwrap();
    Cloud { resource_manager: site.clone(), authority: site, workload_identity: None }
}

pub fn id() -> ProfileId {
    let (subscription, resource_group) = (SUBSCRIPTION.to_owned(), RESOURCE_GROUP.to_owned());
    ProfileId { subscription, resource_group, profile: PROFILE.to_owned() }
}

pub fn principal(client: &str) -> Credentials {
    let (tenant, client) = (TENANT.to_owned(), client.to_owned());
    Credentials::Secret { tenant, client, secret: ClientSecret::new(&format!("{SECRET}\n")) }
}

pub fn workload(token_file: &std::path::Path) -> Credentials {
    let token_file = token_file.to_owned();
    Credentials::WorkloadIdentity(WorkloadIdentity { tenant: TENANT.to_owned(), client: "op".to_owned(), token_file })
}

pub fn publisher(azure: &Azure, credentials: Credentials, clock: Arc<dyn Clock>) -> TrafficManager {
    TrafficManager::new(id(), &cloud(azure), credentials, clock, Arc::new(|| true), 1).unwrap()
}

/// A replica that leads, with a client ID of its own.
pub fn leader(azure: &Azure, client: &str) -> TrafficManager {
    publisher(azure, principal(client), TurnedClock::new())
}

pub fn writing(azure: &Azure, may_write: MayWrite) -> TrafficManager {
    TrafficManager::new(id(), &cloud(azure), principal("op"), TurnedClock::new(), may_write, 1).unwrap()
}

/// Parts of the callers by region; those of 0 have none.
pub fn parts(parts: &[(&str, u32)]) -> RecordSet {
    let owner = Owner::new("rtc", "india", "0d5f").unwrap();
    let share = |&(region, percent): &(&str, u32)| {
        let relay = (percent > 0).then(|| [192, 0, 2, 1].into());
        Share { region: region.to_owned(), percent, addresses: Addresses::new(30, relay) }
    };
    let name = "turn.example.org".parse().unwrap();
    let set = RecordSet::new(name, owner, Ttl::new(30).unwrap(), [[192, 0, 2, 1].into()]).unwrap();
    set.shared(parts.iter().map(share).collect())
}

pub async fn publish(publisher: &TrafficManager, wanted: &RecordSet) -> Result<Outcome, AzureError> {
    match publisher.publish(wanted, &Expected::Nothing).await {
        Ok(done) => Ok(done.outcome),
        Err(PublishError::Azure(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}
