//! A server that has yet to transfer the zone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, OpCode, Query},
    rr::{Name, RecordType},
};
use operator::{
    clock::SystemClock,
    publish::{
        Agreement, Expected, Lag, Publisher as _,
        rfc2136::{Rfc2136, Settings},
    },
};

use super::{
    behaviours::{ours, set},
    harness::{KEYS, Kind, Running, Setup, ZONE, free_port, key, send},
};

const TRANSFER: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// BIND as hidden primary, and as the one secondary that the zone's NS records name. The primary notifies nobody: the
/// test does. Both are at one address, because BIND listens only at those that an interface has.
async fn primary_and_secondary() -> (Running, Running) {
    let mut setup = Setup::new(Kind::Bind, &["turn"], "");
    let primary = Running::start(setup.clone()).await;
    setup.primary = Some(setup.address);
    setup.address.set_port(free_port(setup.address.ip()));
    (primary, Running::start(setup).await)
}

/// RFC 1996.
async fn notify(secondary: &Running) {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    message.add_query(Query::query(Name::from_ascii(format!("{ZONE}.")).unwrap(), RecordType::SOA));
    send(secondary.setup.address, &message).await.unwrap();
}

#[tokio::test]
async fn a_secondary_is_reported_as_lagging_until_it_tells_the_same() {
    let (primary, mut secondary) = primary_and_secondary().await;
    let settings = Settings::new(ZONE.parse().unwrap(), vec![primary.server()], key(KEYS[0])).unwrap();
    let publisher = Rfc2136::new(settings.with_ns_port(secondary.setup.address.port()), Arc::new(SystemClock));
    let old = set("turn", 30, &["192.0.2.1"]);
    let new = set("turn", 30, &["192.0.2.2"]);
    let agreement = async |wanted| Agreement::of(wanted, &publisher.read_back(wanted.name()).await.unwrap());
    // Notified once: one more notification than it needs would have it transfer what comes next, too.
    let until_complete = async |wanted| {
        notify(&secondary).await;
        let deadline = Instant::now() + TRANSFER;
        loop {
            let agreement = agreement(wanted).await;
            if agreement.is_complete() {
                return agreement;
            }
            assert!(Instant::now() < deadline, "{agreement:?}\n{}", secondary.log());
            tokio::time::sleep(POLL).await;
        }
    };
    publisher.publish(&old, &Expected::Nothing).await.unwrap();
    let complete = until_complete(&old).await;
    assert_eq!(complete.agree, [primary.setup.address.to_string(), "ns1.example.org".into()]);

    publisher.publish(&new, &ours(&old)).await.unwrap();
    let behind = agreement(&new).await;
    assert_eq!(behind.agree, [primary.setup.address.to_string()]);
    assert_eq!(behind.lag, [("ns1.example.org".into(), Lag::Tells(old.addresses().clone()))]);
    until_complete(&new).await;

    secondary.kill().await;
    let without = agreement(&new).await;
    assert!(matches!(&without.lag[..], [(server, Lag::Silent(_))] if server == "ns1.example.org"), "{without:?}");
}
