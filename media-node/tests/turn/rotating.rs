//! Secrets that are exchanged while clients come, stay and go.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use media_node::turn::proto::Secret;

use crate::{
    PEER,
    caller::{Caller, echo},
    node::{PATIENCE, Plan},
};

/// With credentials for an hour, as an application server makes them.
fn caller(server: SocketAddr, secret: &str, user: &str) -> Caller {
    static CALLERS: AtomicU64 = AtomicU64::new(1);
    let expiry = jiff::Timestamp::now().as_second() + 3600;
    let username = format!("{expiry}:{user}");
    let mut caller = Caller::named(server, &username, &Secret::new(secret.as_bytes()).unwrap().password(&username));
    // Ports come back soon: with the transaction ids of another its requests would be taken for retransmissions.
    caller.client.transactions = CALLERS.fetch_add(1, Ordering::Relaxed) << 32;
    caller
}

/// Exchanges both files at one moment, as the kubelet does: they are links into a directory behind a link.
fn put(directory: &Path, current: &str, previous: Option<&str>) {
    let version = directory.join(format!("version-{current}-{}", previous.unwrap_or("none")));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("secret"), current).unwrap();
    if let Some(previous) = previous {
        fs::write(version.join("previous"), previous).unwrap();
    }
    symlink(&version, directory.join("next")).unwrap();
    fs::rename(directory.join("next"), directory.join("now")).unwrap();
}

fn plan(secret: &str) -> Plan {
    let mut plan = Plan::new();
    // Clients that come and go as fast as they can, all from one network.
    plan.more += "limits: {unauthenticatedPerPrefix: 0}";
    let directory = plan.directory.path();
    fs::remove_file(directory.join("secret")).unwrap();
    put(directory, secret, None);
    for file in ["secret", "previous"] {
        symlink(Path::new("now").join(file), directory.join(file)).unwrap();
    }
    plan
}

/// Clients under way, and what they see.
#[derive(Default)]
struct Traffic {
    /// Secrets of credentials that have not expired. Held for reading from the first to the last request of a client.
    in_use: RwLock<Vec<&'static str>>,
    over: AtomicBool,
    came: AtomicU64,
    stayed: AtomicU64,
}

impl Traffic {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One client after the other, each with credentials of one of the secrets in use.
    fn come_and_go(&self, server: SocketAddr, user: &str) {
        let peer = echo(PEER);
        for n in 0usize.. {
            if !self.goes_on() {
                return;
            }
            let in_use = self.in_use.read().unwrap();
            let secret = in_use[n % in_use.len()];
            let mut caller = caller(server, secret, user);
            assert_eq!(caller.allocate().code(), 0, "with secret {secret} of {in_use:?}");
            assert_eq!(caller.permit(peer), 0, "{secret}");
            assert_eq!(caller.indication_echo(peer, b"here").1, b"here");
            assert_eq!(caller.refresh(0), 0, "{secret}");
            self.came.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One client with one allocation and the credentials of its beginning.
    fn stay(&self, mut caller: Caller) {
        let peer = echo(PEER);
        assert_eq!(caller.allocate().code(), 0);
        assert_eq!(caller.bind_channel(0x4000, peer), 0);
        while self.goes_on() {
            // A datagram that does not come back ends the test.
            assert_eq!(caller.channel_echo(0x4000, b"stay"), b"\x40\x00\x00\x04stay");
            assert_eq!(caller.refresh(600), 0);
            assert_eq!(caller.permit(peer), 0);
            assert_eq!(caller.bind_channel(0x4000, peer), 0);
            self.stayed.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(caller.refresh(0), 0);
    }

    /// Until everybody has done something again.
    fn a_while(&self) {
        let counts = || [&self.came, &self.stayed].map(|count| count.load(Ordering::Relaxed));
        let (before, deadline) = (counts(), Instant::now() + PATIENCE);
        while counts().iter().zip(before).any(|(now, before)| *now < before + 50) {
            assert!(Instant::now() < deadline, "the clients do not get on");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn use_only(&self, secrets: &[&'static str]) {
        *self.in_use.write().unwrap() = secrets.to_vec();
    }
}

/// Ends the clients however the test ends: a scope waits for its threads.
struct End<'a>(&'a Traffic);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_rotations_under_load_refuse_nobody_whose_credentials_are_good_and_lose_nothing() {
    let node = plan("a").start();
    let (server, directory) = (node.plan.listener, node.plan.directory.path());
    let traffic = Traffic::default();
    traffic.use_only(&["a"]);
    thread::scope(|scope| {
        let end = End(&traffic);
        for user in ["ann", "bob", "carol"] {
            scope.spawn(|| traffic.come_and_go(server, user));
            scope.spawn(|| traffic.stay(caller(server, "a", user)));
        }
        traffic.a_while();

        put(directory, "b", Some("a"));
        traffic.a_while();
        node.wait_for_line(&["other secrets are in force"]);
        traffic.use_only(&["a", "b"]);
        traffic.a_while();
        scope.spawn(|| traffic.stay(caller(server, "b", "dave")));
        traffic.a_while();

        // The last credentials of "a" have expired.
        traffic.use_only(&["b"]);
        put(directory, "c", Some("b"));
        traffic.a_while();
        node.wait_for_line(&["other secrets are in force"]);
        traffic.use_only(&["b", "c"]);
        traffic.a_while();
        assert_eq!(caller(server, "a", "eve").allocate().code(), 401, "in neither file any more");

        traffic.use_only(&["c"]);
        put(directory, "c", None);
        node.wait_for_line(&["other secrets are in force"]);
        traffic.a_while();
        assert_eq!(caller(server, "b", "eve").allocate().code(), 401);
        // Those who stay have allocations by "a" and "b".
        traffic.a_while();
        drop(end);
    });
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
    assert_eq!(node.metric("rtcfleet_turn_secrets_read_errors_total"), 0, "a file that is not there is no error");
}
