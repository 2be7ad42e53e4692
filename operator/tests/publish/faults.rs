//! Servers that are away.

use std::sync::Arc;

use operator::{
    clock::SystemClock,
    error::{Categorised as _, Category},
    publish::{
        Expected, Outcome, PublishError, Publisher as _,
        rfc2136::{Rfc2136, Settings},
    },
};
use tokio::net::TcpListener;

use super::{
    behaviours::{found, ours, owner, set},
    harness::{KEYS, Kind, Running, Setup, ZONE, key},
};

#[tokio::test]
async fn a_server_that_is_down_is_tried_again_and_caught_up_with_once_it_is_back() {
    let mut server = Running::start(Setup::new(Kind::Bind, &["turn"], "")).await;
    let publisher = server.publisher();
    let old = set("turn", 30, &["192.0.2.1"]);
    let new = set("turn", 30, &["192.0.2.2"]);
    publisher.publish(&old, &Expected::Nothing).await.unwrap();
    server.kill().await;
    let publish = publisher.publish(&new, &ours(&old)).await.unwrap_err();
    let withdraw = publisher.withdraw(old.name(), &owner("ours")).await.unwrap_err();
    let read = publisher.read_back(old.name()).await.unwrap_err();
    for error in [publish, withdraw, read] {
        assert_eq!((error.category(), error.reason()), (Category::Retry, "DnsUnreachable"), "{error}");
    }
    server.restart().await;
    assert_eq!(publisher.publish(&new, &ours(&old)).await.unwrap().outcome, Outcome::Written);
    assert_eq!(&found(&server, "turn").await.addresses, new.addresses());
}

#[tokio::test]
async fn the_first_server_that_takes_an_update_is_enough() {
    let server = Running::start(Setup::new(Kind::Knot, &["turn"], "")).await;
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let servers = vec![gone.to_string().parse().unwrap(), server.server()];
    let settings = Settings::new(ZONE.parse().unwrap(), servers, key(KEYS[0])).unwrap();
    let publisher = Rfc2136::new(settings.with_ns_port(server.setup.address.port()), Arc::new(SystemClock));
    let wanted = set("turn", 30, &["192.0.2.1"]);
    let outcome = publisher.publish(&wanted, &Expected::Nothing).await.unwrap();
    assert_eq!(outcome.server, server.setup.address.to_string());
    let answers = publisher.read_back(wanted.name()).await.unwrap();
    let told: Vec<_> = answers.iter().map(|answer| (answer.server.clone(), answer.answer.is_ok())).collect();
    assert_eq!(told, [(gone.to_string(), false), (server.setup.address.to_string(), true)]);
}

#[tokio::test]
async fn a_server_that_never_answers_costs_a_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = vec![listener.local_addr().unwrap().to_string().parse().unwrap()];
    let publisher =
        Rfc2136::new(Settings::new(ZONE.parse().unwrap(), servers, key(KEYS[0])).unwrap(), Arc::new(SystemClock));
    let error = publisher.publish(&set("turn", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap_err();
    assert!(matches!(error, PublishError::NoAnswer { seconds: 3, .. }), "{error:?}");
    assert_eq!(error.category(), Category::Retry);
}
