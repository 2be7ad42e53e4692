//! One table for all servers: what a publication, a withdrawal and a refusal are like.

use std::{net::IpAddr, sync::Arc, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};
use hickory_proto::rr::RecordType;
use jiff::{SignedDuration, Timestamp};
use operator::{
    clock::{Clock, SystemClock},
    error::{Categorised as _, Category},
    publish::{
        Addresses, Agreement, Answer, Expected, Outcome, Owner, Ownership, PublishError, Publisher as _, RecordSet,
        Ttl, Withdrawn,
        rfc2136::{Algorithm, Availability},
    },
};

use super::harness::{KEYS, Kind, Running, STRANGER, Setup, WRONG_SECRET, ZONE, key, key_with};

const NAMES: [&str; 15] = [
    "first", "change", "stale", "taken", "other", "withdraw", "denied", "long", "same", "lost", "alias", "a.wild",
    "probe", "used", "claim",
];

/// What the zone has before.
const RECORDS: &str = "\
taken IN A 192.0.2.99
used IN A 192.0.2.97
withdraw IN MX 10 ns1
alias IN CNAME ns1
*.wild IN A 192.0.2.98
*.wild IN TXT \"v=spf1 -all\"
";

pub fn owner(name: &str) -> Owner {
    Owner::new("calls", name, "0d4e2b0e-7f61-4a09-9d6e-1f1f3a1f8f6c").unwrap()
}

pub fn set_of(owner: Owner, name: &str, ttl: u32, addresses: &[&str]) -> RecordSet {
    let addresses = addresses.iter().map(|text| text.parse().unwrap());
    RecordSet::new(format!("{name}.{ZONE}").parse().unwrap(), owner, Ttl::new(ttl).unwrap(), addresses).unwrap()
}

pub fn set(name: &str, ttl: u32, addresses: &[&str]) -> RecordSet {
    set_of(owner("ours"), name, ttl, addresses)
}

pub fn ours(set: &RecordSet) -> Expected {
    Expected::Ours(set.addresses().clone())
}

/// What the only server has of a name.
pub async fn found(server: &Running, name: &str) -> Answer {
    let answers = server.publisher().read_back(&format!("{name}.{ZONE}").parse().unwrap()).await.unwrap();
    assert_eq!(answers.len(), 1, "one server by two names is asked once: {answers:?}");
    answers.into_iter().next().unwrap().answer.unwrap()
}

async fn a_first_publication_writes_addresses_and_owner(server: &Running) {
    let wanted = set("first", 30, &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    let published = server.publisher().publish(&wanted, &Expected::Nothing).await.unwrap();
    assert_eq!(published.outcome, Outcome::Written);
    assert_eq!(published.server, server.setup.address.to_string());
    let expected = Answer { addresses: wanted.addresses().clone(), owner: Ownership::Owner(owner("ours")) };
    assert_eq!(found(server, "first").await, expected);
    let answers = server.publisher().read_back(wanted.name()).await.unwrap();
    assert!(Agreement::of(&wanted, &answers).is_complete());
}

async fn a_change_replaces_addresses_families_and_ttl(server: &Running) {
    let mut before = set("change", 30, &["192.0.2.1", "2001:db8::1"]);
    server.publisher().publish(&before, &Expected::Nothing).await.unwrap();
    for (ttl, addresses) in [
        (30, &["192.0.2.2", "2001:db8::1"][..]),
        (60, &["192.0.2.2", "2001:db8::1"]),
        (60, &["192.0.2.2"]),
        (10, &["2001:db8::2"]),
    ] {
        let wanted = set("change", ttl, addresses);
        let published = server.publisher().publish(&wanted, &ours(&before)).await.unwrap();
        assert_eq!(published.outcome, Outcome::Written, "{wanted}");
        assert_eq!(&found(server, "change").await.addresses, wanted.addresses());
        before = wanted;
    }
}

async fn a_stale_writer_is_refused_and_told_what_is_there(server: &Running) {
    let old = set("stale", 30, &["192.0.2.1", "2001:db8::1"]);
    let new = set("stale", 30, &["192.0.2.2", "2001:db8::1"]);
    server.publisher().publish(&old, &Expected::Nothing).await.unwrap();
    server.publisher().publish(&new, &ours(&old)).await.unwrap();
    for expected in [ours(&old), Expected::Nothing] {
        let late = set("stale", 30, &["192.0.2.3"]);
        let error = server.publisher().publish(&late, &expected).await.unwrap_err();
        let PublishError::Conflict { found: told, .. } = &error else { panic!("{error:?}") };
        assert_eq!(&told.addresses, new.addresses());
        assert_eq!(error.category(), Category::Retry);
    }
    assert_eq!(&found(server, "stale").await.addresses, new.addresses());
}

async fn what_a_former_writer_was_delayed_with_is_refused_also_when_the_addresses_are_as_it_knew_them(
    server: &Running,
) {
    let publisher = server.publisher();
    let by = |claim, last| set("claim", 30, &[last]).claiming(claim);
    publisher.publish(&by(7, "192.0.2.1"), &Expected::Nothing).await.unwrap();
    let delayed = (by(7, "192.0.2.9"), ours(&by(7, "192.0.2.1")));
    let before = found(server, "claim").await;
    publisher.publish(&by(8, "192.0.2.2"), &Expected::TakeOver(before)).await.unwrap();
    publisher.publish(&by(8, "192.0.2.1"), &ours(&by(8, "192.0.2.2"))).await.unwrap();
    let error = publisher.publish(&delayed.0, &delayed.1).await.unwrap_err();
    assert!(matches!(&error, PublishError::Conflict { .. }), "{error:?}");
    let now = found(server, "claim").await;
    assert_eq!(&now.addresses, by(8, "192.0.2.1").addresses());
    assert_eq!(now.owner, Ownership::Owner(owner("ours").claiming(8)));
    assert_eq!(publisher.withdraw(delayed.0.name(), &owner("ours")).await.unwrap(), Withdrawn::Removed);
}

async fn a_name_that_is_not_ours_stays_untouched_until_it_is_taken_over(server: &Running) {
    let others = set_of(owner("theirs"), "other", 30, &["192.0.2.7"]);
    server.publisher().publish(&others, &Expected::Nothing).await.unwrap();
    for name in ["taken", "other"] {
        let before = found(server, name).await;
        let wanted = set(name, 30, &["192.0.2.1"]);
        for expected in [Expected::Nothing, Expected::Ours(before.addresses.clone())] {
            let error = server.publisher().publish(&wanted, &expected).await.unwrap_err();
            assert!(matches!(&error, PublishError::Foreign { found, .. } if **found == before), "{error:?}");
            assert_eq!(error.category(), Category::UserMustAct);
        }
        assert_eq!(found(server, name).await, before);
        let other = Answer { addresses: Addresses::new(30, ["192.0.2.66".parse().unwrap()]), ..before.clone() };
        let error = server.publisher().publish(&wanted, &Expected::TakeOver(other)).await.unwrap_err();
        assert!(matches!(&error, PublishError::Conflict { .. }), "not what was to be taken over: {error:?}");
        server.publisher().publish(&wanted, &Expected::TakeOver(before)).await.unwrap();
        assert!(found(server, name).await.owner.is(&owner("ours")));
    }
}

async fn a_withdrawal_removes_only_what_is_ours_and_may_be_repeated(server: &Running) {
    let wanted = set("withdraw", 30, &["192.0.2.1", "2001:db8::1"]);
    let publisher = server.publisher();
    publisher.publish(&wanted, &Expected::Nothing).await.unwrap();
    let not_ours = publisher.withdraw(wanted.name(), &owner("theirs")).await.unwrap();
    assert_eq!(not_ours, Withdrawn::NotOurs(Ownership::Owner(owner("ours"))));
    assert_eq!(&found(server, "withdraw").await.addresses, wanted.addresses());
    assert_eq!(publisher.withdraw(wanted.name(), &owner("ours")).await.unwrap(), Withdrawn::Removed);
    let again = publisher.withdraw(wanted.name(), &owner("ours")).await.unwrap();
    assert_eq!(again, Withdrawn::NotOurs(Ownership::Nobody));
    let nothing = Answer { addresses: Addresses::default(), owner: Ownership::Nobody };
    assert_eq!(found(server, "withdraw").await, nothing);
    assert_eq!(server.records("withdraw.example.org", RecordType::MX).await, ["10 ns1.example.org."]);
}

async fn a_wrong_key_secret_or_right_is_told_apart(server: &Running) {
    let publish = async |key| {
        let publisher = server.publisher_with(ZONE, key, Arc::new(SystemClock));
        publisher.publish(&set("denied", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap_err()
    };
    let refused = |error: &PublishError| matches!(error, PublishError::Refused { .. });
    let unknown = |error: &PublishError| matches!(error, PublishError::UnknownKey { .. });
    let wrong = |error: &PublishError| matches!(error, PublishError::WrongSecret { .. });
    let (kind, sha256) = (server.setup.kind, Algorithm::HmacSha256);
    let error = publish(key(("nobody", sha256))).await;
    assert!(if kind == Kind::Pdns { refused(&error) } else { unknown(&error) }, "{error:?}");
    assert_eq!(error.category(), Category::UserMustAct);
    let error = publish(key_with(KEYS[0].0, KEYS[0].1, WRONG_SECRET)).await;
    assert!(if kind == Kind::Pdns { refused(&error) } else { wrong(&error) }, "{error:?}");
    let error = publish(key((KEYS[0].0, Algorithm::HmacSha512))).await;
    assert!(
        if kind == Kind::Pdns { refused(&error) } else { unknown(&error) },
        "the algorithm is the key's: {error:?}"
    );
    let error = publish(key((STRANGER, sha256))).await;
    assert!(if kind == Kind::Knot { unknown(&error) } else { refused(&error) }, "{error:?}");
    // PowerDNS knows no rights within a zone, unless a script decides.
    if kind != Kind::Pdns {
        let wanted = set("elsewhere", 30, &["192.0.2.1"]);
        let error = server.publisher().publish(&wanted, &Expected::Nothing).await.unwrap_err();
        assert!(if kind == Kind::Knot { unknown(&error) } else { refused(&error) }, "{error:?}");
    }
    assert!(found(server, "denied").await.addresses.is_empty());
}

async fn a_zone_that_is_not_the_servers_is_told(server: &Running) {
    let publisher = server.publisher_with("example.net", key(KEYS[0]), Arc::new(SystemClock));
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let name = "first.example.net".parse().unwrap();
    let wanted = RecordSet::new(name, owner("ours"), Ttl::new(30).unwrap(), [address]).unwrap();
    let error = publisher.publish(&wanted, &Expected::Nothing).await.unwrap_err();
    // PowerDNS refuses a zone that it does not have like a key that may not.
    assert!(matches!(&error, PublishError::NotAuthoritative { .. } | PublishError::Refused { .. }), "{error:?}");
    assert_eq!(error.category(), Category::UserMustAct);
    let error = publisher.publish(&set("first", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap_err();
    assert!(matches!(&error, PublishError::NotInZone { .. }), "{error:?}");
    let below = server.publisher_with("wild.example.org", key(KEYS[0]), Arc::new(SystemClock));
    let error = below.read_back(&"a.wild.example.org".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, PublishError::NotAuthoritative { .. }), "a name inside of a zone is none: {error:?}");
}

async fn every_algorithm_signs(server: &Running) {
    let mut expected = Expected::Nothing;
    for (n, which) in KEYS.into_iter().enumerate() {
        let publisher = server.publisher_with(ZONE, key(which), Arc::new(SystemClock));
        let wanted = set("long", 30, &[&format!("192.0.2.{}", n + 1)]);
        assert_eq!(publisher.publish(&wanted, &expected).await.unwrap().outcome, Outcome::Written, "{which:?}");
        expected = ours(&wanted);
    }
}

async fn what_is_there_already_is_not_written_again(server: &Running) {
    let wanted = set("same", 30, &["192.0.2.1", "2001:db8::1"]);
    let publisher = server.publisher();
    publisher.publish(&wanted, &Expected::Nothing).await.unwrap();
    let serial = server.serial().await;
    let again = publisher.publish(&wanted, &ours(&wanted)).await.unwrap();
    assert_eq!((again.outcome, server.serial().await), (Outcome::AlreadyThere, serial));
}

async fn a_publication_whose_answer_was_lost_is_simply_repeated(server: &Running) {
    let publisher = server.publisher();
    let first = set("lost", 30, &["192.0.2.1"]);
    let second = set("lost", 30, &["192.0.2.2"]);
    for (wanted, expected) in [(&first, Expected::Nothing), (&second, ours(&first))] {
        publisher.publish(wanted, &expected).await.unwrap();
        assert_eq!(publisher.publish(wanted, &expected).await.unwrap().outcome, Outcome::AlreadyThere, "{wanted}");
    }
}

async fn an_alias_is_told_and_stays(server: &Running) {
    let error = server.publisher().publish(&set("alias", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap_err();
    assert!(matches!(&error, PublishError::Alias { target, .. } if target == "ns1.example.org."), "{error:?}");
    assert_eq!(server.records("alias.example.org", RecordType::CNAME).await, ["ns1.example.org."]);
}

async fn a_name_that_only_a_wildcard_covers_is_free(server: &Running) {
    let wanted = set("a.wild", 30, &["192.0.2.1"]);
    assert_eq!(found(server, "a.wild").await.addresses, Addresses::new(300, ["192.0.2.98".parse().unwrap()]));
    server.publisher().publish(&wanted, &Expected::Nothing).await.unwrap();
    assert_eq!(&found(server, "a.wild").await.addresses, wanted.addresses());
}

async fn a_check_needs_every_right_and_changes_nothing(server: &Running) {
    let serial = server.serial().await;
    let name = "probe.example.org".parse().unwrap();
    let checked = server.publisher().may_update(&name).await;
    assert!(matches!(checked[..], [(_, Ok(Availability::Free))]), "{checked:?}");
    let taken = server.publisher().may_update(&"used.example.org".parse().unwrap()).await;
    assert!(matches!(taken[..], [(_, Ok(Availability::InUse))]), "{taken:?}");
    let stranger = server.publisher_with(ZONE, key((STRANGER, Algorithm::HmacSha256)), Arc::new(SystemClock));
    let refused = stranger.may_update(&name).await;
    assert!(
        matches!(refused[..], [(_, Err(PublishError::Refused { .. } | PublishError::UnknownKey { .. }))]),
        "{refused:?}"
    );
    assert_eq!(server.serial().await, serial);
}

/// A machine whose date is wrong.
struct Ahead(SignedDuration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.0
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

async fn a_clock_that_is_wrong_is_told_by_how_much(server: &Running) {
    for hours in [-2, 2] {
        let ahead = Arc::new(Ahead(SignedDuration::from_hours(hours)));
        let publisher = server.publisher_with(ZONE, key(KEYS[0]), ahead);
        let error = publisher.publish(&set("denied", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap_err();
        let told = match error {
            PublishError::ClockSkew { seconds: 7100..=7300, .. } => true,
            PublishError::Refused { .. } => server.setup.kind == Kind::Pdns,
            _ => false,
        };
        assert!(told, "{error:?}");
    }
}

type Behaviour = for<'a> fn(&'a Running) -> BoxFuture<'a, ()>;

macro_rules! table {
    ($($behaviour:ident),* $(,)?) => { [$((stringify!($behaviour), (|server| $behaviour(server).boxed()) as Behaviour)),*] };
}

async fn all(kind: Kind) {
    let server = Running::start(Setup::new(kind, &NAMES, RECORDS)).await;
    let mut broken = Vec::new();
    for (sentence, behaviour) in table![
        a_first_publication_writes_addresses_and_owner,
        a_change_replaces_addresses_families_and_ttl,
        a_stale_writer_is_refused_and_told_what_is_there,
        what_a_former_writer_was_delayed_with_is_refused_also_when_the_addresses_are_as_it_knew_them,
        a_name_that_is_not_ours_stays_untouched_until_it_is_taken_over,
        a_withdrawal_removes_only_what_is_ours_and_may_be_repeated,
        a_wrong_key_secret_or_right_is_told_apart,
        a_zone_that_is_not_the_servers_is_told,
        every_algorithm_signs,
        what_is_there_already_is_not_written_again,
        a_publication_whose_answer_was_lost_is_simply_repeated,
        an_alias_is_told_and_stays,
        a_name_that_only_a_wildcard_covers_is_free,
        a_check_needs_every_right_and_changes_nothing,
        a_clock_that_is_wrong_is_told_by_how_much,
    ] {
        // All of them, so that one run shows where a server differs.
        if std::panic::AssertUnwindSafe(behaviour(&server)).catch_unwind().await.is_err() {
            broken.push(sentence);
        }
    }
    assert!(broken.is_empty(), "{kind:?}: {broken:#?}\n{}", server.log());
}

#[tokio::test]
async fn bind_behaves_as_the_table_says() {
    all(Kind::Bind).await;
}

#[tokio::test]
async fn knot_behaves_as_the_table_says() {
    all(Kind::Knot).await;
}

#[tokio::test]
async fn powerdns_behaves_as_the_table_says() {
    all(Kind::Pdns).await;
}
