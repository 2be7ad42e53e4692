use std::sync::Mutex;

use futures::future::BoxFuture;

use super::*;
use crate::clock::SystemClock;
use crate::leader::Fence;
use crate::publish::{Addresses, Answer, Outcome, Published, ServerAnswer, Ttl, Withdrawn};

/// One server that keeps one name, as a compare-and-swap does.
#[derive(Default)]
struct Server(Mutex<Zone>);

struct Zone {
    found: Answer,
    is_up: bool,
    writes: usize,
    /// Looks after a write until the servers tell it.
    behind: usize,
}

impl Default for Zone {
    fn default() -> Self {
        let found = Answer { addresses: Addresses::default(), owner: Ownership::Nobody };
        Self { found, is_up: true, writes: 0, behind: 0 }
    }
}

impl Server {
    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.0.lock().unwrap()
    }

    fn holding(last: u8, by: &str) -> Self {
        let found = Answer { addresses: set(last, by).addresses().clone(), owner: Ownership::Owner(owner(by)) };
        Self(Mutex::new(Zone { found, ..Zone::default() }))
    }

    fn swap(&self, wanted: &RecordSet, expected: &Expected) -> Result<Published, PublishError> {
        let mut zone = self.zone();
        let done = |outcome| Ok(Published { server: "ns1".into(), outcome });
        if !zone.is_up {
            return Err(PublishError::NoAnswer { server: "ns1".into(), seconds: 3 });
        }
        let found = Box::new(zone.found.clone());
        let (server, name) = ("ns1".to_owned(), wanted.name().clone());
        let is_ours = zone.found.owner.is(wanted.owner());
        let is_claimed = zone.found.owner == Ownership::Owner(wanted.owner().clone());
        if is_claimed && &zone.found.addresses == wanted.addresses() {
            return done(Outcome::AlreadyThere);
        }
        let holds = match expected {
            Expected::Nothing => zone.found.owner == Ownership::Nobody && zone.found.addresses.is_empty(),
            Expected::Ours(addresses) => is_claimed && &zone.found.addresses == addresses,
            Expected::TakeOver(answer) => &zone.found == answer,
        };
        if !holds {
            let is_free = zone.found.owner == Ownership::Nobody && zone.found.addresses.is_empty();
            return Err(if is_ours || is_free {
                PublishError::Conflict { server, name, found }
            } else {
                PublishError::Foreign { server, name, found }
            });
        }
        zone.found = Answer { addresses: wanted.addresses().clone(), owner: Ownership::Owner(wanted.owner().clone()) };
        zone.writes += 1;
        done(Outcome::Written)
    }
}

impl Publisher for Server {
    fn publish<'a>(
        &'a self,
        wanted: &'a RecordSet,
        expected: &'a Expected,
    ) -> BoxFuture<'a, Result<Published, PublishError>> {
        Box::pin(async move { self.swap(wanted, expected) })
    }

    fn agreement<'a>(&'a self, wanted: &'a RecordSet) -> BoxFuture<'a, Result<Agreement, PublishError>> {
        Box::pin(async move {
            let mut zone = self.zone();
            let mut found = zone.found.clone();
            if zone.behind > 0 {
                zone.behind -= 1;
                found.addresses = Addresses::default();
            }
            let told = |answer: Answer| ServerAnswer { server: "ns2".into(), serial: Some(1), answer: Ok(answer) };
            Ok(Agreement::of(wanted, &[told(zone.found.clone()), told(found)]))
        })
    }

    fn withdraw<'a>(&'a self, _: &'a DnsName, _: &'a Owner) -> BoxFuture<'a, Result<Withdrawn, PublishError>> {
        Box::pin(async { Ok(Withdrawn::Removed) })
    }
}

fn owner(name: &str) -> Owner {
    Owner::new("rtc", name, "1").unwrap()
}

fn set(last: u8, by: &str) -> RecordSet {
    let name = "turn.example.org".parse().unwrap();
    RecordSet::new(name, owner(by), Ttl::new(30).unwrap(), [[192, 0, 2, last].into()]).unwrap()
}

fn wanted(server: &Arc<Server>, last: u8) -> Wanted {
    let publisher: Arc<dyn Publisher> = Arc::<Server>::clone(server);
    Wanted { publisher, owner: owner("india"), sets: vec![set(last, "india")], gone: vec![], decided: Instant::now() }
}

/// A replica that leads, or thinks so.
fn leading(holder: &str) -> Leadership {
    let leadership = Leadership::default();
    let fence = Fence { holder: holder.into(), transitions: 1 };
    leadership.set(Some((fence, Instant::now() + Duration::from_hours(1))));
    leadership
}

fn publication(leadership: &Leadership) -> Publication {
    Publication::start(leadership.clone(), Arc::new(SystemClock), Arc::new(|| {}))
}

async fn until(publication: &Publication, is: impl Fn(&Told) -> bool) -> Told {
    let mut told = publication.told.clone();
    let found = tokio::time::timeout(Duration::from_mins(5), told.wait_for(|told| is(told))).await;
    found.expect("in time").expect("a task").clone()
}

fn everywhere(last: u8) -> impl Fn(&Told) -> bool {
    move |told| told.sets == [set(last, "india")] && matches!(told.progress, Progress::Everywhere { .. })
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_published_once_and_seen_until_every_server_tells_it() {
    let server = Arc::new(Server::default());
    server.zone().behind = 3;
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 1));
    let behind = until(&publication, |told| matches!(told.progress, Progress::Behind(_))).await;
    assert_eq!(behind.progress, Progress::Behind(vec!["ns2: turn.example.org tells no address".into()]));
    let told = until(&publication, everywhere(1)).await;
    assert!(told.took.is_some());
    assert_eq!(server.zone().writes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_goes_on_from_what_the_last_one_has_published() {
    let server = Arc::new(Server::holding(1, "india"));
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 2));
    until(&publication, everywhere(2)).await;
    publication.want(wanted(&server, 3));
    until(&publication, everywhere(3)).await;
    assert_eq!(server.zone().writes, 2);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_by_hand_is_put_back() {
    let server = Arc::new(Server::default());
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 1));
    until(&publication, everywhere(1)).await;
    server.zone().found.addresses = set(66, "india").addresses().clone();
    sleep(DRIFT * 2).await;
    assert_eq!(&server.zone().found.addresses, set(1, "india").addresses());
}

#[tokio::test(start_paused = true)]
async fn a_name_of_somebody_else_is_left_alone_and_told() {
    let server = Arc::new(Server::holding(1, "other"));
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 2));
    let told = until(&publication, |told| matches!(told.progress, Progress::Failed { .. })).await;
    assert!(matches!(told.progress, Progress::Failed { reason: "DnsNameInUse", must_act: true, .. }), "{told:?}");
    assert_eq!(server.zone().writes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_is_caught_up_with() {
    let server = Arc::new(Server::default());
    server.zone().is_up = false;
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 1));
    let told = until(&publication, |told| matches!(told.progress, Progress::Failed { .. })).await;
    assert!(matches!(told.progress, Progress::Failed { reason: "DnsUnresponsive", must_act: false, .. }), "{told:?}");
    server.zone().is_up = true;
    until(&publication, everywhere(1)).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_leaders_for_a_moment_the_former_one_writes_nothing_once_it_knows() {
    let server = Arc::new(Server::default());
    let (former, next) = (leading("a"), leading("b"));
    let (old, new) = (publication(&former), publication(&next));
    old.want(wanted(&server, 1));
    until(&old, everywhere(1)).await;
    new.want(wanted(&server, 2));
    until(&new, everywhere(2)).await;
    former.set(None);
    old.want(wanted(&server, 3));
    until(&old, |told| told.progress == Progress::NotLeader).await;
    assert_eq!(&server.zone().found.addresses, set(2, "india").addresses());
    assert_eq!(server.zone().writes, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_former_leader_has_sent_and_was_delayed_is_refused_also_when_the_addresses_are_as_it_knew_them() {
    let server = Arc::new(Server::default());
    let (former, next) = (leading("a"), leading("b"));
    let (old, new) = (publication(&former), publication(&next));
    old.want(wanted(&server, 1));
    until(&old, everywhere(1)).await;
    // As the former leader sent it before it stood still.
    let claim = claim(&former.fence(Instant::now()).unwrap());
    let (delayed, expected) = (set(9, "india").claiming(claim), Expected::Ours(set(1, "india").addresses().clone()));
    drop(old);
    for last in [2, 1] {
        new.want(wanted(&server, last));
        until(&new, everywhere(last)).await;
    }
    let refused = server.publish(&delayed, &expected).await;
    assert!(matches!(refused, Err(PublishError::Conflict { .. })), "{refused:?}");
    assert_eq!(&server.zone().found.addresses, set(1, "india").addresses());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_rests_is_not_written_any_more() {
    let server = Arc::new(Server::default());
    let publication = publication(&leading("a"));
    publication.want(wanted(&server, 1));
    until(&publication, everywhere(1)).await;
    publication.rest();
    server.zone().found.addresses = set(66, "india").addresses().clone();
    sleep(DRIFT * 4).await;
    assert_eq!(server.zone().writes, 1);
}
