use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::turn::proto::{
    Alternates, ClientPath, PeerPolicy, Secret, ServerConfig,
    test_support::{Heard, SECRET, World},
};

const MS: Duration = Duration::from_millis(1);
const WHOLE: Duration = Duration::from_secs(1);
/// There, and as much back.
const LATENCY: Duration = Duration::from_millis(10);
const HERE: &str = "198.51.100.1:9999";

/// On its way.
#[derive(Debug)]
enum Flight {
    Request(Vec<u8>),
    Relay { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Answer(Vec<u8>),
    Here(Vec<u8>),
}

/// A session, the node's own core, and what does not work between them.
struct Net {
    world: World,
    path: ClientPath,
    session: Session,
    flights: BTreeMap<(Instant, u64), Flight>,
    number: u64,
    /// Whether the so-manieth message is lost.
    loses: Box<dyn Fn(u64) -> bool>,
    /// Nothing that a relay sends arrives.
    cut: bool,
}

fn client(secret: &[u8]) -> Client {
    Client::new("prober", &Secret::new(secret).unwrap(), 1_800_000_000)
}

fn plan(echo: Echo) -> Plan {
    Plan { echo, packets: 4, pace: Pace::of(WHOLE), lossy: true, v6: false, clients: vec![client(SECRET)] }
}

impl Net {
    fn new(plan: Plan, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut world = World::with(change);
        let path = world.stranger("prober").path;
        let session = Session::new(plan, [1; 32], world.now.instant, world.now.instant).unwrap();
        let loses = Box::new(|_| false);
        Self { world, path, session, flights: BTreeMap::new(), number: 0, loses, cut: false }
    }

    fn fly(&mut self, flight: Flight) {
        self.number += 1;
        if !(self.loses)(self.number) {
            self.flights.insert((self.world.now.instant + LATENCY, self.number), flight);
        }
    }

    fn land(&mut self, flight: Flight) {
        let now = self.world.now.instant;
        match flight {
            Flight::Request(bytes) => match self.world.hear(&self.path, &bytes) {
                Heard::Nothing => {}
                Heard::Reply(answer) => self.fly(Flight::Answer(answer.0)),
                Heard::AtPeer { .. } if self.cut => {}
                // The core's own relayed address, or somebody who sends back.
                Heard::AtPeer { from, to, payload, .. } if from.ip() == to.ip() || to.to_string() != HERE => {
                    self.fly(Flight::Relay { from: to, to: from, payload });
                }
                Heard::AtPeer { payload, .. } => self.fly(Flight::Here(payload)),
            },
            Flight::Relay { from, to, payload } => {
                if let Some((_, message)) = self.world.peer_sends(to, from, &payload) {
                    self.fly(Flight::Answer(message));
                }
            }
            Flight::Answer(bytes) => self.session.handle_message(now, &bytes),
            Flight::Here(payload) => self.session.handle_here(now, &payload),
        }
    }

    /// The report, when it came, when all was over, and the allocations that are left.
    fn run(mut self) -> (Report, Duration, Duration, usize) {
        let start = self.world.now.instant;
        let mut report = None;
        for _ in 0..10_000 {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::ToServer(bytes) => self.fly(Flight::Request(bytes)),
                    Output::FromHere { to, payload } => {
                        self.fly(Flight::Relay { from: HERE.parse().unwrap(), to, payload });
                    }
                    Output::Report(found) => {
                        let before = report.replace((found, self.world.now.instant - start));
                        assert!(before.is_none(), "two reports");
                    }
                }
            }
            let Some(timer) = self.session.poll_timeout() else {
                let over = self.world.now.instant - start;
                while let Some((_, flight)) = self.flights.pop_first() {
                    self.land(flight);
                }
                let (report, at) = report.expect("a report");
                return (report, at, over, self.world.held()[0]);
            };
            let lands = self.flights.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= timer);
            if let Some(at) = lands {
                self.world.now.instant = at;
                let (_, flight) = self.flights.pop_first().unwrap();
                self.land(flight);
            } else {
                self.world.now.instant = timer.max(self.world.now.instant);
                self.session.handle_timeout(self.world.now.instant);
            }
        }
        panic!("it does not end: {:?}", self.session);
    }
}

fn fault(report: &Report) -> Option<(Stage, Option<u16>)> {
    report.fault.as_ref().map(|fault| (fault.stage, fault.code))
}

#[test]
fn a_server_that_relays_is_found_to_do_so_by_each_way_of_echo_with_the_round_trip_to_the_relay() {
    for (echo, rtt) in [
        (Echo::Relay, 3 * LATENCY), // in this world the way from relayed port to relayed port takes as long as any
        (Echo::Here, 2 * LATENCY),
        (Echo::At("192.0.2.9:7".parse().unwrap()), 3 * LATENCY),
    ] {
        let (report, at, over, held) = Net::new(plan(echo), |_| ()).run();
        assert_eq!((fault(&report), held), (None, 0), "{echo:?}: {report:?}");
        assert_eq!((report.packets_sent, report.packets_lost(), report.rtts), (4, 0, vec![rtt; 4]), "{echo:?}");
        assert!(at < 200 * MS && at == over, "{echo:?}: {at:?} {over:?}");
    }
}

#[test]
fn each_way_to_fail_is_told_by_its_stage_and_code_in_time_and_nothing_is_left_behind() {
    type Change = fn(&mut ServerConfig);
    let closed: Change = |config| config.terms.peers = PeerPolicy::new(vec![], vec!["203.0.113.7/32".parse().unwrap()]);
    let other = vec![client(b"another secret")];
    let private = Echo::At("10.0.0.9:7".parse().unwrap());
    let same: Change = |_| ();
    for (case, change, plan, expected) in [
        ("wrong secret", same, Plan { clients: other, ..plan(Echo::Relay) }, (Stage::Allocate, Some(401))),
        ("quota", |config| config.terms.quotas.per_user = 0, plan(Echo::Relay), (Stage::Allocate, Some(486))),
        ("full", |config| config.terms.quotas.total = 0, plan(Echo::Relay), (Stage::Allocate, Some(508))),
        ("private echo peer", same, plan(private), (Stage::Permission, Some(403))),
        ("own addresses denied", closed, plan(Echo::Relay), (Stage::Permission, Some(403))),
    ] {
        let (report, at, _, held) = Net::new(plan, change).run();
        assert_eq!((fault(&report), held), (Some(expected), 0), "{case}");
        assert!(report.heard && at < WHOLE, "{case}: {at:?}");
    }
}

#[test]
fn a_server_that_drains_is_told_by_its_code() {
    for (alternates, code) in [(vec![], 508), (vec!["203.0.113.8".parse().unwrap()], 300)] {
        let net = Net::new(plan(Echo::Relay), |_| ());
        net.world.shared.set_drain(Some(Alternates::parse(alternates).unwrap()));
        assert_eq!(fault(&net.run().0), Some((Stage::Allocate, Some(code))));
    }
}

#[test]
fn silence_is_told_in_three_quarters_of_the_time_after_three_requests() {
    let mut net = Net::new(plan(Echo::Relay), |_| ());
    net.loses = Box::new(|_| true);
    let (report, at, over, _) = net.run();
    assert_eq!((fault(&report), report.heard), (Some((Stage::Allocate, None)), false));
    assert_eq!((at, over), (750 * MS, 750 * MS), "nothing can have been allocated, so nothing is waited for");
}

#[test]
fn packets_that_do_not_come_back_are_told_as_such_and_the_allocation_is_given_back() {
    for (echo, half) in [(Echo::Relay, false), (Echo::Here, true)] {
        let net = Net { cut: true, ..Net::new(plan(echo), |_| ()) };
        let (report, at, over, held) = net.run();
        assert_eq!((fault(&report), held), (Some((Stage::Echo, None)), 0), "{echo:?}");
        let detail = &report.fault.as_ref().unwrap().detail;
        assert_eq!(detail.contains("came as far as the client"), half, "{detail}");
        assert_eq!((report.packets_sent, report.packets_lost()), (4, 4));
        assert!(at <= 750 * MS && over <= at + 250 * MS, "{echo:?}: {at:?} {over:?}");
    }
}

#[test]
fn a_lossy_way_is_no_failure_and_its_loss_is_told() {
    // The second packet and its like: requests come before them.
    let mut net = Net::new(plan(Echo::Relay), |_| ());
    net.loses = Box::new(|number| (10..=12).contains(&number));
    let (report, ..) = net.run();
    assert_eq!(fault(&report), None, "{report:?}");
    assert!(report.packets_lost() >= 1, "{report:?}");
    let mut net = Net::new(plan(Echo::Relay), |_| ());
    net.loses = Box::new(|number| number % 5 == 1);
    let (report, _, _, held) = net.run();
    assert_eq!((fault(&report), held), (None, 0), "requests are sent again: {report:?}");
}

#[test]
fn during_a_rotation_the_second_secret_counts_too() {
    let clients = vec![client(b"newer than the server's"), client(SECRET)];
    let (report, _, _, held) = Net::new(Plan { clients, ..plan(Echo::Relay) }, |_| ()).run();
    assert_eq!((fault(&report), held), (None, 0));
}

#[test]
fn where_there_is_only_an_ipv6_relay_that_one_is_taken() {
    let only_v6 = |config: &mut ServerConfig| {
        let v6: Vec<_> = config.relays.iter().filter(|relay| relay.public.is_ipv6()).collect();
        config.relays = crate::turn::proto::RelayAddresses::new(&v6).unwrap();
    };
    let (report, ..) = Net::new(plan(Echo::Relay), only_v6).run();
    assert_eq!(fault(&report), None, "{report:?}");
}

#[test]
fn a_connection_that_ends_is_told_by_the_stage_that_it_ended_in() {
    let mut net = Net::new(plan(Echo::Relay), |_| ());
    net.session.handle_broken(net.world.now.instant, "closed");
    let (report, at, ..) = net.run();
    assert_eq!((fault(&report), at), (Some((Stage::Allocate, None)), Duration::ZERO));
}

/// An answer of the right transaction to whatever was asked last, made of what a server can choose.
fn forged(session: &Session, code: u16, body: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let transaction = session.pending.as_ref().map_or([0; 12], |pending| pending.request.transaction);
    let class = if code == 0 { Class::Success } else { Class::Error };
    let mut bytes = Vec::new();
    let mut writer = Writer::start(&mut bytes, class, method::ALLOCATE, transaction);
    if code != 0 {
        writer.error(code);
    }
    for (kind, value) in body {
        writer.attribute(*kind, value);
    }
    writer.finish();
    bytes
}

proptest! {
    #[test]
    fn whatever_a_server_answers_there_is_one_report_in_bounded_time_and_no_panic(
        answers in vec(
            (
                prop_oneof![Just(0u16), Just(401), Just(437), Just(438), Just(440), Just(300), 0..800u16],
                vec((prop_oneof![0..0x30u16, any::<u16>()], vec(any::<u8>(), 0..40)), 0..5),
                vec(any::<u8>(), 0..60),
                0..300u64,
            ),
            0..80,
        ),
        here in any::<bool>(),
    ) {
        let start = Instant::now();
        let echo = if here { Echo::Here } else { Echo::Relay };
        let mut session = Session::new(plan(echo), [2; 32], start, start).unwrap();
        let (mut now, mut reports, mut sent) = (start, 0, 0);
        for (code, body, noise, wait) in answers {
            let realm = [(0x0014, b"realm".to_vec()), (0x0015, b"nonce".to_vec())];
            let answer = forged(&session, code, &[&realm[..usize::from(code % 2) * 2], &body[..]].concat());
            session.handle_message(now, &answer);
            session.handle_message(now, &noise);
            session.handle_here(now, &noise);
            now += Duration::from_millis(wait);
            session.handle_timeout(now);
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Report(_) => reports += 1,
                    Output::ToServer(_) | Output::FromHere { .. } => sent += 1,
                }
            }
        }
        while let Some(at) = session.poll_timeout() {
            prop_assert!(at <= start + WHOLE + WHOLE / 4 || at <= now, "{:?} after {:?}", at - start, now - start);
            now = now.max(at);
            session.handle_timeout(now);
            while let Some(output) = session.poll_output() {
                reports += usize::from(matches!(output, Output::Report(_)));
            }
        }
        prop_assert_eq!(reports, 1);
        prop_assert!(sent < 600, "{}", sent);
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_server_make_a_session_panic_or_go_on_for_ever(bytes in vec(any::<u8>(), 0..600)) {
        fuzzing::session(&bytes);
    }
}
