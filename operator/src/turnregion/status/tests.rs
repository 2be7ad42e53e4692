use rtcfleet_crds::ConditionsExt;
use rtcfleet_crds::condition::{AUTH_SECRET_MISSING, TLS_SECRET_MISSING};
use rtcfleet_node_api::{Counters, NodeStatus, Sessions};
use serde_json::json;

use super::*;
use crate::fleet::load::Load;
use crate::fleet::rollout::Failure;
use crate::fleet::slot::NodePod;
use crate::turnregion::secrets::TlsSecret;

pub fn now() -> Timestamp {
    "2026-02-01T12:00:00Z".parse().unwrap()
}

/// What a node in this state says, and nothing besides.
pub fn node(state: NodeState) -> NodeStatus {
    NodeStatus {
        state,
        version: "1".into(),
        config_hash: String::new(),
        started_at: now(),
        public_addresses: vec!["203.0.113.7".parse().unwrap()],
        drain: None,
        sessions: Sessions::default(),
        counters: Counters::default(),
        certificate: None,
        limits: None,
        peer_rules: None,
        relaying: None,
        load: None,
    }
}

/// A slot that drains for an exchange still has the old template; every other one has the revision `a` of [`pass`].
fn slot(index: u32, intent: Option<&str>, state: Option<NodeState>) -> Slot {
    let revision = if intent == EXCHANGE && state.is_some() { "old" } else { "a" };
    let pod = NodePod {
        name: String::new(),
        uid: String::new(),
        revision: Some(revision.into()),
        machine: Some("m1".into()),
        host_ip: None,
        ready: state.is_some(),
        running: state.is_some(),
        terminating: false,
        waiting_for: state.is_none().then(|| "ContainerCreating".into()),
        created: None,
        start: None,
    };
    let says = |state| NodeReport::Says(Box::new(node(state)));
    Slot {
        index,
        name: format!("centralindia-{index}"),
        revision: Some(revision.into()),
        intent: intent.and_then(Intent::parse),
        is_being_deleted: false,
        is_lost: false,
        pod: Some(pod),
        node: state.map_or(NodeReport::Absent, says),
    }
}

fn pass(desired: u32, slots: Vec<Slot>) -> Applied {
    Applied {
        scale: Scale {
            desired,
            least: desired,
            reason: "Minimum",
            limited_by: Vec::new(),
            rules: Vec::new(),
            load: Load::default(),
            expected: 0.0,
            lead_time: std::time::Duration::from_secs(10),
        },
        rollout: Rollout::Done,
        max_unavailable: 1,
        slots,
        machines: Vec::new(),
        missing: Vec::new(),
        tls: None,
        revision: "a".into(),
        limits: "l".into(),
        selector: crate::turnregion::build::selector(&crate::turnregion::test_support::managed("{}").identity),
        not_in_effect: Vec::new(),
        waiting: Vec::new(),
        done: Vec::new(),
        again: false,
    }
}

/// `Ready`'s status and reason, then the other conditions that are true.
fn summary(status: &TurnRegionStatus) -> (String, Vec<String>) {
    let ready = status.conditions.condition(READY).unwrap();
    let others = status.conditions.iter().filter(|one| one.type_ != READY && one.status == "True");
    (format!("{} {}", ready.status, ready.reason), others.map(|one| one.type_.clone()).collect())
}

const EXCHANGE: Option<&str> = Some("Upgrade 2026-02-01T13:00:00Z");
const RETIRE: Option<&str> = Some("ScaleDown 2026-02-01T13:00:00Z");
const ACTIVE: Option<NodeState> = Some(NodeState::Active);
const DRAINS: Option<NodeState> = Some(NodeState::Draining);

#[test]
fn ready_tells_whether_what_is_wanted_serves() {
    for (case, desired, slots, ready, others) in [
        ("all serve", 2, vec![slot(0, None, ACTIVE), slot(1, None, ACTIVE)], "True Serving", vec![]),
        ("nothing yet", 2, vec![], "False RelaysMissing", vec!["Reconciling"]),
        (
            "one is down",
            2,
            vec![slot(0, None, ACTIVE), slot(1, None, None)],
            "False RelaysMissing",
            vec!["Reconciling"],
        ),
        ("none is wanted", 0, vec![], "True ScaledToZero", vec![]),
        (
            "one is exchanged, as planned",
            2,
            vec![slot(0, EXCHANGE, DRAINS), slot(1, None, ACTIVE)],
            "True Serving",
            vec!["Draining"],
        ),
        (
            "the new node of an exchange starts",
            2,
            vec![slot(0, EXCHANGE, None), slot(1, None, ACTIVE)],
            "True Serving",
            vec!["Reconciling", "Draining"],
        ),
        (
            "one is exchanged and another is down",
            2,
            vec![slot(0, EXCHANGE, DRAINS), slot(1, None, None)],
            "False RelaysMissing",
            vec!["Reconciling", "Draining"],
        ),
        (
            "one more than wanted leaves: no reason for a pipeline to wait",
            1,
            vec![slot(0, None, ACTIVE), slot(1, RETIRE, DRAINS)],
            "True Serving",
            vec!["Draining"],
        ),
        (
            "a node drains though nobody asked for it",
            1,
            vec![slot(0, None, DRAINS)],
            "False RelaysMissing",
            vec!["Reconciling"],
        ),
    ] {
        let status = applied(4, None, &pass(desired, slots), now());
        let others = others.into_iter().map(str::to_owned).collect::<Vec<String>>();
        assert_eq!(summary(&status), (ready.to_owned(), others), "{case}");
        assert_eq!(status.observed_generation, Some(4));
    }
}

#[test]
fn an_exchange_that_ends_in_a_crash_is_no_planned_absence() {
    let mut crashing = slot(0, EXCHANGE, None);
    crashing.pod.as_mut().unwrap().waiting_for = Some("CrashLoopBackOff".into());
    let status = applied(1, None, &pass(2, vec![crashing, slot(1, None, ACTIVE)]), now());
    assert_eq!(summary(&status).0, "False RelaysMissing");
    let ready = status.conditions.condition(READY).unwrap();
    assert_eq!(ready.message, "1 of 2 relays serve; slot 0: CrashLoopBackOff");
}

#[test]
fn a_missing_relay_is_named_with_what_kubernetes_says_of_it() {
    let status = applied(1, None, &pass(2, vec![slot(0, None, ACTIVE), slot(1, None, None)]), now());
    let ready = status.conditions.condition(READY).unwrap();
    assert_eq!(ready.message, "1 of 2 relays serve; slot 1: ContainerCreating");
}

#[test]
fn a_missing_secret_is_told_before_its_symptoms() {
    let mut starting = pass(1, vec![slot(0, None, None)]);
    let secret = |condition, reason| MissingSecret { condition, reason, message: "does not exist".into() };
    starting.missing =
        vec![secret(AUTH_SECRET_MISSING, AUTH_SECRET_MISSING), secret(TLS_SECRET_MISSING, "TlsSecretUnreadable")];
    let status = applied(1, None, &starting, now());
    assert_eq!(summary(&status).0, "False AuthSecretMissing");
    assert_eq!(status.conditions.condition(RECONCILING).unwrap().reason, AUTH_SECRET_MISSING);
    assert_eq!(status.conditions.condition(TLS_SECRET_MISSING).unwrap().reason, "TlsSecretUnreadable");
    assert!(status.conditions.is_true(AUTH_SECRET_MISSING) && !status.conditions.is_true(STALLED));

    starting.missing.remove(0);
    let status = applied(1, None, &starting, now());
    assert_eq!(summary(&status).0, "False TlsSecretUnreadable");

    starting.slots = vec![slot(0, None, ACTIVE)];
    let status = applied(1, None, &starting, now());
    assert_eq!(summary(&status), ("True Serving".into(), vec![TLS_SECRET_MISSING.into()]));
}

#[test]
fn addresses_are_those_of_relays_that_serve() {
    let status = applied(1, None, &pass(2, vec![slot(0, None, ACTIVE), slot(1, None, DRAINS)]), now());
    assert_eq!(status.addresses, ["203.0.113.7"]);
    assert!(applied(1, None, &pass(1, vec![slot(1, None, DRAINS)]), now()).addresses.is_empty());
}

#[test]
fn the_same_look_twice_gives_the_same_status_whatever_the_time() {
    let look = pass(2, vec![slot(0, EXCHANGE, DRAINS), slot(1, None, ACTIVE)]);
    let first = applied(1, None, &look, now());
    let second = applied(1, Some(&first), &look, now() + jiff::SignedDuration::from_hours(1));
    assert_eq!(first, second);
}

#[test]
fn a_mistake_stalls_and_keeps_the_counts_of_relays_that_go_on() {
    let before = applied(1, None, &pass(1, vec![slot(0, None, ACTIVE)]), now());
    let status = failed(2, Some(&before), true, "InvalidSpec", "spec.relay: …", now());
    assert_eq!(summary(&status), ("False InvalidSpec".into(), vec!["Stalled".into()]));
    assert_eq!((status.ready_replicas, status.observed_generation), (1, Some(2)));
}

#[test]
fn an_error_that_passes_leaves_ready_as_it_was() {
    let serving = applied(1, None, &pass(1, vec![slot(0, None, ACTIVE)]), now());
    let down = applied(1, None, &pass(1, vec![]), now());
    for (before, ready) in
        [(Some(&serving), "True Serving"), (Some(&down), "False ApiError"), (None, "Unknown ApiError")]
    {
        let status = failed(1, before, false, "ApiError", "no answer", now());
        assert_eq!(summary(&status), (ready.to_owned(), vec!["Reconciling".to_owned()]));
    }
}

/// One node that grants a peer it must refuse, does not know its interface, and shows a certificate that ends tomorrow.
fn alarming() -> Applied {
    let mut slot = slot(0, None, ACTIVE);
    let NodeReport::Says(status) = &mut slot.node else { panic!("it answers") };
    let end = now() + jiff::SignedDuration::from_hours(24);
    **status = serde_json::from_value({
        let mut told = serde_json::to_value(node(NodeState::Active)).unwrap();
        told["certificate"] = json!({"notAfter": end});
        told["limits"] = json!({"hash": "old"});
        told["peerRules"] = json!({"checkedAt": now(), "granted": ["169.254.169.254"]});
        told["load"] = json!({
            "windowSeconds": 5.0, "cpu": {"processPercent": 1.0, "machinePercent": 2.0, "softirqPercent": 0.5},
            "nic": {
                "interface": "eth0", "capacity": {"source": "Unknown"},
                "sent": {"bitsPerSecond": 0, "packetsPerSecond": 0, "dropsPerSecond": 0},
                "received": {"bitsPerSecond": 0, "packetsPerSecond": 0, "dropsPerSecond": 0},
            },
        });
        told
    })
    .unwrap();
    Applied { tls: Some(("turn-tls".into(), TlsSecret::Ends(end))), ..pass(1, vec![slot]) }
}

#[test]
fn what_nodes_say_of_themselves_is_told_and_does_not_touch_ready() {
    let status = applied(1, None, &alarming(), now());
    let alarms =
        ["CertificateExpiring", "LimitsPending", "PeerRulesViolated", "CapacityUnknown"].map(str::to_owned).to_vec();
    assert_eq!(summary(&status), ("True Serving".into(), alarms));

    let mut well = alarming();
    well.slots = vec![slot(0, None, ACTIVE)];
    well.tls = None;
    assert_eq!(summary(&applied(1, Some(&status), &well, now())), ("True Serving".into(), vec![]));
}

#[test]
fn an_error_of_ours_takes_back_nothing_that_nodes_said() {
    let before = applied(1, None, &alarming(), now());
    let status = failed(2, Some(&before), false, "ApiError", "no answer", now());
    let all = ["Reconciling", "CertificateExpiring", "LimitsPending", "PeerRulesViolated", "CapacityUnknown"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(summary(&status), ("True Serving".into(), all));
    assert_eq!(failed(2, Some(&status), false, "ApiError", "no answer", now()), status);
}

#[test]
fn an_external_region_is_not_called_healthy() {
    let status = external(1, None, &["spec.mode External: …".into()], now());
    assert_eq!(summary(&status), ("Unknown ExternalNotProbed".into(), vec!["NotInEffect".into()]));
}

#[test]
fn relays_that_load_asks_for_beyond_the_minimum_do_not_make_a_region_unready() {
    let mut growing = pass(3, vec![slot(0, None, ACTIVE), slot(1, None, ACTIVE), slot(2, None, None)]);
    growing.scale.least = 2;
    let status = applied(1, None, &growing, now());
    assert_eq!(summary(&status), ("True Serving".into(), vec![]));
    let ready = status.conditions.condition(READY).unwrap();
    assert_eq!(ready.message, "2 of 3 relays serve; the others are on their way");
    growing.scale.least = 3;
    assert_eq!(summary(&applied(1, None, &growing, now())).0, "False RelaysMissing");
}

#[test]
fn an_upgrade_that_failed_stalls_and_says_what_to_do() {
    let mut failed = pass(2, vec![slot(0, EXCHANGE, None), slot(1, None, ACTIVE)]);
    failed.rollout = Rollout::Failed { slot: 0, why: Failure::NotStarted("ErrImagePull".into()) };
    let status = applied(1, None, &failed, now());
    assert!(status.conditions.condition(RECONCILING).is_none(), "it would be read first: {status:#?}");
    let stalled = status.conditions.condition(STALLED).unwrap();
    assert_eq!(stalled.reason, "UpgradeFailed");
    assert!(stalled.message.contains("(ErrImagePull)") && stalled.message.contains("change it back"), "{stalled:?}");
    let upgrade = status.upgrade.unwrap();
    assert_eq!((upgrade.state.as_str(), upgrade.updated, upgrade.outdated), ("Failed", 2, 0));
    failed.rollout = Rollout::Done;
    assert_eq!(applied(1, None, &failed, now()).upgrade, None);
}

#[test]
fn every_limit_is_told_with_what_to_do_and_without_figures_that_move() {
    let mut limited = pass(2, vec![]);
    limited.scale.limited_by = vec![Limit::MaxReplicas, Limit::MetricsMissing, Limit::NicCapacityUnknown];
    let status = applied(1, None, &limited, now());
    assert_eq!(status.scaling.unwrap().limited_by, ["MaxReplicas", "MetricsMissing", "NicCapacityUnknown"]);
    let told = status.conditions.condition(CAPACITY_LIMITED).unwrap();
    assert_eq!(told.reason, "MaxReplicas");
    for part in ["raise spec.scaling.max", "admin port reachable?", "write spec.capacity.nic"] {
        assert!(told.message.contains(part), "{part}: {}", told.message);
    }
}

#[test]
fn utilisation_is_told_in_steps_and_noise_does_not_move_it() {
    let told = |percent: f64, before: Option<i32>| {
        let sum = crate::fleet::load::Sum { whole: percent / 50.0, at_target: 0.0 };
        let load = Load { nodes: 2, reporting: 2, begun: 0, up: sum, down: sum, guessed: false };
        utilisation(&load, before.map(|percent| Utilisation { percent })).map(|told| told.percent)
    };
    for (case, percent, before, expected) in [
        ("the first look", 37.0, None, Some(30)),
        ("within its step", 39.0, Some(30), Some(30)),
        ("a little above", 44.0, Some(30), Some(30)),
        ("a little below", 26.0, Some(30), Some(30)),
        ("clearly above", 46.0, Some(30), Some(40)),
        ("clearly below", 24.0, Some(30), Some(20)),
        ("idle", 0.0, Some(10), Some(0)),
    ] {
        assert_eq!(told(percent, before), expected, "{case}");
    }
    assert_eq!(utilisation(&Load::default(), None), None, "nobody tells");
}
