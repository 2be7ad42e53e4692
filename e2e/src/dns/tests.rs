use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{Answer, DnsServers, Watcher, ask, new_caller};
use crate::{monotonic::Moment, percentiles::Percentiles};

/// BIND listens on addresses of interfaces only, so the two servers differ by their ports.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NAME: &str = "turn.example.org";
/// Others may have the processors.
const LIMIT: Duration = Duration::from_secs(20);

/// One that is free, outside of those that the kernel gives away. Given once; another run begins elsewhere.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(61);
    let next = || {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
        20_000 + u16::try_from(number).unwrap()
    };
    let is_free =
        |port: &u16| UdpSocket::bind((LOOPBACK, *port)).is_ok() && TcpListener::bind((LOOPBACK, *port)).is_ok();
    std::iter::repeat_with(next).take(100).find(is_free).unwrap()
}

async fn servers() -> DnsServers {
    DnsServers::start_at([(); 2].map(|()| SocketAddrV4::new(LOOPBACK, free_port())), Vec::new()).await.unwrap()
}

fn addresses(last: &[u8]) -> BTreeSet<IpAddr> {
    last.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last).into()).collect()
}

async fn publish(servers: &DnsServers, last: &[u8]) -> Moment {
    let before = Moment::now().unwrap();
    servers.update(NAME, &Vec::from_iter(addresses(last))).await.unwrap();
    before
}

#[tokio::test]
async fn a_watcher_sees_every_change_at_both_servers_and_none_of_them_is_empty() {
    let servers = servers().await;
    let watcher = Watcher::start(&servers.both(), NAME).await.unwrap();
    let mut sets = Vec::new();
    let mut delays = [Vec::new(), Vec::new()];
    for last in 1..=20 {
        let set = addresses(&[last, last + 1]);
        let before = publish(&servers, &[last, last + 1]).await;
        for (server, delays) in servers.both().into_iter().zip(&mut delays) {
            let at = watcher.first_after(before, server, LIMIT, |told| *told == set).await.unwrap();
            delays.push(at.since(before));
            assert_eq!(ask(server, NAME).await.unwrap(), set);
        }
        sets.push(set);
    }
    let history = watcher.end().await.unwrap();
    history.is_never_empty(&servers.both()).unwrap();
    history.is_never_without_addresses(&servers.both()).unwrap();
    assert_eq!(Vec::from_iter(history.distinct()), sets);
    for (server, delays) in servers.both().into_iter().zip(delays) {
        eprintln!("an update is told by {server} after {}", Percentiles::of(delays).unwrap());
        let told: Vec<Answer> = history.of(server).map(|seen| seen.answer.clone()).collect();
        let published = sets.iter().cloned().map(Answer::Addresses);
        let expected: Vec<Answer> = [Answer::NoSuchName].into_iter().chain(published).collect();
        assert_eq!(told, expected);
        let counts = history.counts[&server];
        assert!(counts.answered > 20 && counts.unanswered == 0, "{counts:?}");
    }
}

#[tokio::test]
async fn servers_that_were_killed_come_back_with_what_they_had() {
    let mut servers = servers().await;
    publish(&servers, &[1]).await;
    servers.start_again().await.unwrap();
    let watcher = Watcher::start(&servers.both(), NAME).await.unwrap();
    let [primary, secondary] = servers.both();

    let before = Moment::now().unwrap();
    servers.stop_secondary().await.unwrap();
    watcher.fails_after(before, secondary, LIMIT).await.unwrap();
    publish(&servers, &[2]).await;
    assert_eq!(ask(primary, NAME).await.unwrap(), addresses(&[2]));
    ask(secondary, NAME).await.unwrap_err();
    servers.start_again().await.unwrap();
    assert_eq!(ask(secondary, NAME).await.unwrap(), addresses(&[2]));

    let before = Moment::now().unwrap();
    servers.stop_all().await.unwrap();
    let mut failed = Vec::new();
    for server in [primary, secondary] {
        failed.push((server, watcher.fails_after(before, server, LIMIT).await.unwrap()));
    }
    servers.update(NAME, &[]).await.unwrap_err();
    servers.start_again().await.unwrap();
    for (server, at) in failed {
        assert_eq!(ask(server, NAME).await.unwrap(), addresses(&[2]));
        let back = watcher.first_after(at, server, LIMIT, |told| *told == addresses(&[2])).await.unwrap();
        assert!(back > at);
    }
    let history = watcher.end().await.unwrap();
    history.is_never_empty(&[primary, secondary]).unwrap();
    history.is_never_without_addresses(&[primary]).unwrap_err();
    assert!(history.counts[&secondary].unanswered > 0, "{history}");
}

#[tokio::test]
async fn an_answer_that_becomes_empty_for_a_moment_is_seen() {
    let servers = servers().await;
    publish(&servers, &[1]).await;
    let primary = servers.primary();
    let watcher = Watcher::start(&[primary], NAME).await.unwrap();
    let before = publish(&servers, &[]).await;
    watcher.first_after(before, primary, LIMIT, BTreeSet::is_empty).await.unwrap();
    publish(&servers, &[1]).await;
    let error = watcher.end().await.unwrap().is_never_empty(&[primary]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{primary} said nxdomain at ")), "{error}");
}

#[tokio::test]
async fn a_watcher_that_was_killed_has_not_seen_the_end() {
    let servers = servers().await;
    let mut watcher = Watcher::start(&[servers.primary()], NAME).await.unwrap();
    watcher.kill().await;
    let error = watcher.end().await.unwrap_err().to_string();
    assert!(error.starts_with("dns-watch has ended by itself"), "{error}");
}

#[tokio::test]
async fn a_caller_asks_the_next_server_and_says_where_nobody_served_it() {
    let servers = servers().await;
    let relay: IpAddr = Ipv4Addr::new(127, 0, 53, 99).into();
    servers.update(NAME, &[relay]).await.unwrap();
    let dead = SocketAddr::new(LOOPBACK.into(), 9);
    let error = new_caller(&[dead, servers.primary()], NAME).await.err().unwrap();
    let error = format!("{error:#}");
    assert!(error.starts_with("a caller of turn.example.org: no allocation on 127.0.53.99:3478"), "{error}");
    let error = new_caller(&[servers.primary()], "nobody.example.org").await.err().unwrap().to_string();
    assert!(error.ends_with("knows no address of nobody.example.org"), "{error}");
}
