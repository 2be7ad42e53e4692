use std::net::SocketAddr;

use rtcfleet_crds::turn_region::Protocol;

use super::super::policy::Pinned;
use super::super::region::{Phase, Reason};
use super::super::seen::NodeState;
use super::super::test_support::{World, listener, noon, policy, policy_with, report, seen};
use super::*;
use crate::listener::ListenerPort;

/// Steps of a minute, so that a whole failback fits into a few.
fn quick() -> Policy {
    policy_with("failback: {stepDuration: 1m}")
}

fn region<'a>(decision: &'a Decision, name: &str) -> &'a Region {
    decision.regions.iter().find(|region| region.name == name).unwrap()
}

fn reasons(decision: &Decision) -> Vec<&'static str> {
    decision.choices.iter().map(|choice| choice.reason).collect()
}

/// Of two who are asked about the other region, one stands in the one that fails, and sees nothing well.
#[test]
fn a_region_with_a_bad_network_leaves_although_its_own_prober_sees_the_others_fail() {
    let mut world = World::settled(
        2,
        policy_with(
            "vantagePoints: [{name: in-a, region: a, url: 'https://a'}, {name: in-b, region: b, url: 'https://b'}, {name: out, url: 'https://c'}]",
        ),
    );
    world.kill("a");
    world.faults.lying.insert("in-a".to_owned());
    world.until_active(&["b"], 4);
}

/// Two regions lose what they share. One is found dead a moment before the other, and one comes back a moment before.
#[test]
fn regions_that_die_and_come_back_together_stay_in_the_answer() {
    let mut world = World::settled(2, policy());
    let both = ["a", "b"];
    world.kill("a");
    world.look();
    world.kill("b");
    for _ in 0..20 {
        assert_eq!(world.look().active, both);
    }
    assert!(world.decide().degraded.len() == 2 && world.decide().frozen.is_some());
    world.heal("b");
    world.look();
    world.heal("a");
    for _ in 0..40 {
        assert_eq!(world.look().active, both);
    }
    assert!(world.before.iter().all(|region| region.phase == Phase::Serving && region.flaps == 0));
}

#[test]
fn before_anything_is_known_every_region_is_in_the_answer_and_it_is_said_to_be_frozen() {
    let first = World::of(2, policy()).look();
    assert_eq!((first.active.join(","), first.answer.ipv4.len()), ("a,b".to_owned(), 4));
    assert_eq!(first.frozen, None, "three vantage points are heard");
    assert_eq!(region(&first, "a").health, Health::Unknown);
    let blind = World::of(2, policy_with("vantagePoints: [{name: one, url: 'https://one:9443'}]")).look();
    assert_eq!(blind.frozen, Some(Freeze::QuorumLost { fine: 1, needed: 2 }));
    assert_eq!(blind.answer.ipv4.len(), 4);
}

#[test]
fn a_dead_region_leaves_the_answer_within_three_probes_and_the_flip_says_how_long_it_took() {
    let mut world = World::settled(2, policy());
    world.kill("a");
    world.run(2);
    let third = world.look();
    assert_eq!(third.active, ["b"]);
    let flip = third.flip.clone().unwrap();
    assert_eq!((flip.from.join(","), flip.reason), ("a,b".into(), "Unhealthy"));
    assert_eq!(flip.detection, Some(Duration::from_secs(2)), "from the first of three failures");
    assert!(third.answer.ipv4.iter().all(|address| address.octets()[2] == 1), "{:?}", third.answer);
    assert!(third.degraded.is_empty() && third.frozen.is_none());
    assert_eq!(third.choices[0].message, "a fails over every transport: it gets no more callers");
    assert_eq!(third.choices[0].inputs["votes"]["down"], 3);
}

#[test]
fn a_region_that_is_back_gets_its_callers_by_steps() {
    let mut world = World::settled(2, quick());
    world.kill("a");
    world.run(5);
    world.heal("a");
    assert_eq!(world.until_active(&["a", "b"], 120), 58, "a minute after it left");
    let mut given = Vec::new();
    for _ in 0..200 {
        let now = region(&world.look(), "a").given_percent;
        if given.last() != Some(&now) {
            given.push(now);
        }
    }
    assert_eq!(given, [5, 25, 50, 100]);
    assert_eq!(world.before[0].phase, Phase::Serving);
}

#[test]
fn a_failback_pauses_at_failures_and_is_undone_when_a_quorum_sees_the_region_fail() {
    let mut world = World::settled(2, quick());
    world.kill("a");
    world.run(5);
    world.heal("a");
    world.until_active(&["a", "b"], 120);
    for _ in 0..30 {
        world.kill("a");
        world.look();
        world.heal("a");
        let decision = world.run(7);
        assert_eq!(region(&decision, "a").given_percent, 5, "one failure in eight seconds");
        assert!(reasons(&decision).contains(&"Paused"));
    }
    world.kill("a");
    let undone = world.run(4);
    let a = region(&undone, "a");
    assert_eq!((a.phase, a.reason, a.given_percent), (Phase::Withdrawn, Reason::FailedAgain, 0));
    let held = a.hold_down_until.unwrap().duration_since(world.now);
    assert!((115..=120).contains(&held.as_secs()), "twice as long as the first time: {held}");
}

#[test]
fn hold_downs_and_steps_outlive_a_leader() {
    let mut world = World::settled(2, quick());
    world.kill("a");
    world.run(5);
    world.heal("a");
    world.run(20);
    world.change_leader();
    let after = world.look();
    assert_eq!((after.active.clone(), region(&after, "a").phase), (vec!["b".to_owned()], Phase::Withdrawn));
    world.until_active(&["a", "b"], 60);
    world.run(65);
    assert_eq!(world.before[0].given_percent, 25);
    world.change_leader();
    assert_eq!(region(&world.look(), "a").given_percent, 25);
}

#[test]
fn a_new_leader_changes_nothing_before_it_has_seen_enough() {
    let mut world = World::settled(2, policy());
    world.kill("a");
    world.run(10);
    world.change_leader();
    for _ in 0..3 {
        let decision = world.look();
        assert_eq!((decision.active, decision.flip), (vec!["b".to_owned()], None));
    }
}

#[test]
fn one_prober_that_is_wrong_silent_or_cut_off_changes_nothing() {
    for fault in ["lying", "silent", "cut off"] {
        let mut world = World::settled(2, policy());
        let whose = match fault {
            "lying" => &mut world.faults.lying,
            "silent" => &mut world.faults.silent,
            _ => &mut world.faults.cut_off,
        };
        whose.insert("p1".to_owned());
        for _ in 0..60 {
            let decision = world.look();
            assert_eq!((decision.active.join(","), decision.frozen), ("a,b".into(), None), "{fault}");
        }
        world.kill("b");
        assert_eq!(world.until_active(&["a"], 4), 3, "{fault}: the two others are enough");
    }
}

#[test]
fn with_two_of_three_probers_gone_the_answer_is_frozen_although_a_region_dies() {
    let mut world = World::settled(2, policy());
    world.faults.silent.extend(["p1".to_owned(), "p2".to_owned()]);
    world.run(10);
    world.kill("a");
    let decision = world.run(30);
    assert_eq!(decision.frozen, Some(Freeze::QuorumLost { fine: 1, needed: 2 }));
    assert_eq!(decision.active, ["a", "b"]);
    assert!(decision.choices.iter().any(|choice| choice.kind == "freeze" && choice.is_event));
}

#[test]
fn a_prober_has_no_vote_about_the_region_that_it_stands_in() {
    let points = "vantagePoints: [{name: in-a, region: a, url: 'https://1:1'}, {name: in-b, region: b, url: 'https://2:1'}, {name: far, url: 'https://3:1'}]";
    let mut world = World::settled(2, policy_with(points));
    world.kill("a");
    world.faults.silent.insert("in-a".to_owned());
    let decision = world.run(4);
    assert_eq!(decision.active, ["b"], "its own prober died with it");
    let Votes { up, down, clean, needed, asked, .. } = decision.votes[0];
    assert_eq!((up, down, clean, needed, asked), (0, 2, 0, 2, 2));
    assert_eq!(decision.votes[1].asked, 2);
}

#[test]
fn when_everything_fails_at_once_the_answer_stays() {
    let mut world = World::settled(2, policy());
    let before = world.published.clone();
    world.kill("a");
    world.kill("b");
    let decision = world.run(60);
    assert_eq!(decision.frozen, Some(Freeze::TooFewHealthy { percent: 0, least: 50 }));
    assert_eq!(decision.answer, before);
    assert_eq!(decision.degraded, ["callers are sent to a, which fails", "callers are sent to b, which fails"]);
}

#[test]
fn the_second_region_to_die_stays_and_the_first_one_replaces_it_as_soon_as_it_works() {
    let mut world = World::settled(2, policy());
    world.kill("a");
    world.run(5);
    world.kill("b");
    let both = world.run(10);
    assert_eq!((both.active.clone(), both.degraded.len()), (vec!["b".to_owned()], 1));
    world.heal("a");
    let took = world.until_active(&["a", "b"], 20);
    assert_eq!(took, 6, "no hold-down while nothing else works");
    assert_eq!(world.before[0].reason, Reason::LastResort);
    assert_eq!(world.look().active, ["a"], "and then the dead one leaves");
}

#[test]
fn one_region_at_a_time_is_withdrawn_and_the_second_one_is_said_to_be_held() {
    let mut world = World::settled(4, policy());
    world.kill("a");
    world.run(5);
    world.kill("b");
    let decision = world.run(10);
    assert_eq!(decision.active, ["b", "c", "d"]);
    assert_eq!(reasons(&decision), ["MaxWithdrawn"]);
    assert_eq!(decision.degraded, ["callers are sent to b, which fails"]);
}

#[test]
fn callers_whom_the_others_cannot_carry_stay_and_go_when_there_is_room() {
    let mut world = World::settled(2, policy());
    for seen in &mut world.seen {
        (seen.capacity, seen.load) = (Some(10.0), Some(6.0));
    }
    world.kill("a");
    let decision = world.run(4);
    let a = region(&decision, "a");
    // Of 12, 8.5 can be carried: 29.2 % of all callers stay, 30 in steps of five.
    assert_eq!((a.phase, a.given_percent, a.weight_percent), (Phase::Withdrawn, 60, 30));
    assert_eq!(decision.degraded, ["callers are sent to a, which fails"]);
    assert_eq!(region(&world.run(60), "a").weight_percent, 30, "its callers have not arrived at b yet");
    world.seen[1].load = Some(8.4);
    assert_eq!(region(&world.run(300), "a").weight_percent, 30, "steady");
    world.seen[1].capacity = Some(20.0);
    let decision = world.look();
    assert_eq!((decision.active.join(","), reasons(&decision)), ("b".into(), vec!["RoomFound"]));
}

#[test]
fn a_region_that_fails_over_one_transport_leaves_if_another_has_all_of_its_own() {
    for (transports, expected) in [("All", "b"), ("Any", "a,b")] {
        let mut world = World::of(2, policy_with(&format!("health: {{transports: {transports}}}")));
        world.offer(&[Protocol::Udp, Protocol::Tcp]);
        world.run(20);
        world.faults.dead.insert("a".into(), [Protocol::Udp].into());
        let decision = world.run(5);
        assert_eq!(decision.active.join(","), expected, "{transports}");
        assert_eq!(region(&decision, "a").health, Health::Impaired);
        world.faults.dead.insert("b".into(), [Protocol::Tcp].into());
        let decision = world.run(5);
        assert!(decision.active.contains(&"b".to_owned()), "{transports}: both are impaired");
    }
}

#[test]
fn a_transport_that_not_every_relay_opens_yet_is_no_reason_to_leave() {
    let mut world = World::settled(2, policy());
    world.faults.dead.insert("a".into(), [Protocol::Tls].into());
    world.seen[0].transports.push(Protocol::Tls);
    for relays in 0..2 {
        assert_eq!(world.run(10).active.join(","), "a,b", "{relays} relays open it");
        world.seen[0].nodes[relays].listeners.push(listener(Protocol::Tls));
    }
    let decision = world.run(5);
    assert_eq!((decision.active.join(","), reasons(&decision)), ("b".into(), vec![]));
    assert_eq!(region(&decision, "a").failing, [Protocol::Tls]);
}

/// As while a port is moved: the new one is opened beside the old one, relay by relay.
#[test]
fn a_relay_has_one_vote_however_many_listeners_it_has() {
    for (case, dead, expected, left) in [
        ("the one with two fails, which is half of the region", &[0][..], "a,b", 2),
        ("the two with one fail, which is more than half", &[1, 2], "b", 0),
    ] {
        let mut world = World::of(2, policy());
        world.seen[0] = seen("a", 0, if dead.len() == 1 { 2 } else { 3 });
        world.seen[0].nodes[0].listeners.push(ListenerPort { protocol: Protocol::Udp, port: 443 });
        world.run(20);
        for node in dead {
            // Nobody answers at its address any more.
            world.faults.dead_nodes.insert(world.seen[0].nodes[*node].name.clone());
        }
        let decision = world.run(5);
        let of_a = decision.answer.ipv4.iter().filter(|address| address.octets()[2] == 0).count();
        assert_eq!((decision.active.join(","), of_a), (expected.into(), left), "{case}");
    }
}

#[test]
fn a_port_that_a_firewall_closes_counts_once_every_relay_has_it() {
    let mut world = World::of(2, policy());
    world.seen[0] = seen("a", 0, 3);
    world.faults.closed.insert(443);
    world.run(20);
    for relay in 0..3 {
        let decision = world.run(10);
        let of_a = decision.answer.ipv4.iter().filter(|address| address.octets()[2] == 0).count();
        assert_eq!((decision.active.join(","), of_a), ("a,b".into(), 2), "{relay} relays have it");
        world.seen[0].nodes[relay].listeners.push(ListenerPort { protocol: Protocol::Udp, port: 443 });
    }
    assert_eq!(world.run(10).active, ["b"]);
}

/// Probers learn later than relays where these are open.
#[test]
fn what_is_heard_of_a_port_that_a_relay_does_not_open_says_nothing_about_it() {
    for (port, expected) in [(443, "a,b"), (3478, "b")] {
        let mut world = World::settled(2, policy());
        for node in &mut world.seen[0].nodes {
            node.listeners = vec![ListenerPort { protocol: Protocol::Udp, port }];
        }
        let points = ["p0", "p1", "p2"];
        world.faults.silent.extend(points.map(String::from));
        for n in 0..10 {
            let told = [("a", "192.0.0.1:3478", false), ("a", "192.0.0.2:3478", false), ("b", "192.0.1.1:3478", true)];
            for (at, (region, target, ok)) in told.into_iter().enumerate() {
                let sequence = 1_000 + 3 * n + at as u64;
                for point in points {
                    let heard = report(point, sequence, region, target.parse().unwrap(), ok);
                    world.watch.take(&heard, world.instant, &world.policy);
                }
            }
            world.look();
        }
        assert_eq!(world.look().active.join(","), expected, "open at {port}");
    }
}

#[test]
fn udp_that_fails_everywhere_withdraws_nobody() {
    let mut world = World::of(2, policy());
    world.offer(&[Protocol::Udp, Protocol::Tcp]);
    world.run(20);
    for name in ["a", "b"] {
        world.faults.dead.insert(name.into(), [Protocol::Udp].into());
    }
    let decision = world.run(30);
    assert_eq!((decision.active.join(","), decision.degraded.len()), ("a,b".into(), 2));
}

#[test]
fn priorities_name_who_takes_over_and_give_back_by_steps() {
    let order = "policy: Priority, regions: [{name: a, priority: 1}, {name: b, priority: 2}, {name: c, priority: 3}], failback: {stepDuration: 1m}";
    let mut world = World::settled(3, policy_with(order));
    assert_eq!(world.look().active, ["a"]);
    world.kill("a");
    assert_eq!(world.until_active(&["b"], 4), 3);
    world.heal("a");
    world.until_active(&["a", "b"], 120);
    assert_eq!((world.before[0].weight_percent, world.before[1].weight_percent), (5, 95));
    world.until_active(&["a"], 300);
}

#[test]
fn an_override_wins_and_ends() {
    let mut world = World::settled(2, policy());
    let expires_at = world.now + SignedDuration::from_secs(30);
    world.policy.pinned = Some(Pinned { regions: vec!["a".into()], reason: "maintenance of b".into(), expires_at });
    world.kill("a");
    let decision = world.run(20);
    assert_eq!((decision.active.join(","), decision.flip.is_none()), ("a".into(), true));
    assert_eq!(reasons(&decision), ["Overridden"]);
    assert!(decision.choices[0].message.contains("maintenance of b"));
    assert_eq!(world.run(10).active, ["b"], "the next look after it judges");
}

#[test]
fn an_override_that_names_nobody_with_relays_is_not_followed() {
    let mut world = World::settled(2, policy());
    let expires_at = world.now + SignedDuration::from_secs(30);
    world.policy.pinned = Some(Pinned { regions: vec!["z".into()], reason: "a slip".into(), expires_at });
    let decision = world.look();
    assert_eq!((decision.active.join(","), reasons(&decision)), ("a,b".into(), vec!["OverrideWithoutRelays"]));
}

#[test]
fn what_is_only_observed_is_decided_and_not_published() {
    let mut world = World::settled(2, policy_with("mode: Observe"));
    world.kill("a");
    let decision = world.run(5);
    assert_eq!((decision.active.join(","), decision.publish), ("b".into(), false));
}

#[test]
fn draining_relays_leave_a_frozen_answer_and_are_replaced() {
    let mut world = World::settled(2, policy());
    world.faults.silent.extend(["p0", "p1", "p2"].map(String::from));
    world.run(10);
    world.seen[0].nodes[0].state = NodeState::Draining;
    let decision = world.look();
    assert!(decision.frozen.is_some());
    assert!(!decision.answer.ipv4.contains(&"192.0.0.1".parse().unwrap()), "{:?}", decision.answer);
    assert_eq!(decision.active, ["a", "b"]);
}

#[test]
fn an_answer_is_kept_when_no_relay_is_left_to_publish() {
    let mut world = World::settled(2, policy());
    let before = world.published.clone();
    world.seen.iter_mut().for_each(|seen| seen.nodes.clear());
    assert_eq!(world.run(30).answer, before);
}

#[test]
fn a_relay_that_a_quorum_sees_fail_leaves_and_its_region_stays() {
    let mut world = World::of(2, policy());
    world.seen[0] = seen("a", 0, 4);
    world.run(20);
    // It answers nobody: its address is one that nothing listens on.
    let address = "192.0.9.9".parse().unwrap();
    world.seen[0].nodes[3].addresses = vec![address];
    let points: Vec<String> = world.policy.vantage_points.iter().map(|point| point.name.clone()).collect();
    for n in 0..3_u64 {
        for point in &points {
            let mut failed = report(point, 1_000_000 + n, "a", SocketAddr::new(address, 3478), false);
            failed.boot = 2;
            world.watch.take(&failed, world.instant, &world.policy);
        }
    }
    let decision = world.decide();
    assert_eq!(region(&decision, "a").health, Health::Healthy);
    assert!((0..8).all(|_| !world.decide().answer.addresses().any(|known| known == address)));
}

#[test]
fn a_clock_that_is_set_back_by_a_day_keeps_nobody_out_for_a_day() {
    let mut world = World::settled(2, quick());
    world.kill("a");
    world.run(5);
    world.heal("a");
    world.run(20);
    world.now -= SignedDuration::from_hours(24);
    assert_eq!(world.look().active, ["a", "b"], "the hold-down is none of ours");
    world.now -= SignedDuration::from_hours(24);
    assert_eq!(region(&world.look(), "a").given_percent, 25);
}

#[test]
fn a_look_is_due_when_a_slot_a_step_or_a_hold_down_ends() {
    let mut world = World::settled(2, policy_with("health: {interval: 5m}"));
    world.now = noon() + SignedDuration::from_secs(7);
    let decision = world.decide();
    assert_eq!(decision.next_look, Duration::from_secs(53), "the slot ends");
}

#[test]
fn a_region_alone_is_answered_with_what_works_and_while_nobody_is_believed_with_what_was_answered() {
    let mut world = World::settled(2, policy());
    let alone = |decision: &Decision| decision.alone[0].ipv4.clone();
    let all = alone(&world.look());
    assert_eq!(all.len(), world.seen[0].nodes.len());
    world.kill("a");
    assert_eq!(alone(&world.run(10)), all, "all of a region that fails, as none of it is better");
    world.heal("a");
    let healed = world.run(1000);
    assert_eq!((healed.active.len(), alone(&healed)), (2, all));
    world.faults.silent.extend(world.policy.vantage_points.iter().map(|point| point.name.clone()));
    let blind = world.run(60);
    let own = |address: &std::net::Ipv4Addr| alone(&healed).contains(address);
    assert!(blind.frozen.is_some());
    assert_eq!(alone(&blind), blind.answer.ipv4.iter().copied().filter(own).collect::<Vec<_>>());
}
