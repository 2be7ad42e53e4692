use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rtcfleet_crds::condition::{Status, Wanted, merge};

use serde_json::Value;

use super::*;
use crate::turnregion::test_support::region;

fn status(kind: &'static str, reason: &'static str) -> TurnRegionStatus {
    let wanted = Wanted { kind, status: Status::True, reason, message: format!("{reason}: do this") };
    let conditions: Vec<Condition> = merge(&[], vec![wanted], 1, Timestamp::UNIX_EPOCH);
    TurnRegionStatus { conditions, ..TurnRegionStatus::default() }
}

#[test]
fn an_alarm_is_an_event_when_it_comes_up_and_when_its_reason_turns() {
    use condition::{CAPACITY_UNKNOWN, CERTIFICATE_EXPIRING, DRAINING, PEER_RULES_VIOLATED};
    for (case, before, after, expected) in [
        ("it comes up", None, status(CERTIFICATE_EXPIRING, "ExpiresSoon"), Some(CERTIFICATE_EXPIRING)),
        ("another one comes up", None, status(PEER_RULES_VIOLATED, "PeersGranted"), Some(PEER_RULES_VIOLATED)),
        (
            "it lasts",
            Some(status(CERTIFICATE_EXPIRING, "ExpiresSoon")),
            status(CERTIFICATE_EXPIRING, "ExpiresSoon"),
            None,
        ),
        (
            "it gets worse",
            Some(status(CERTIFICATE_EXPIRING, "ExpiresSoon")),
            status(CERTIFICATE_EXPIRING, "Expired"),
            Some(CERTIFICATE_EXPIRING),
        ),
        ("it is over", Some(status(CERTIFICATE_EXPIRING, "ExpiresSoon")), TurnRegionStatus::default(), None),
        ("a guess instead of a capacity hurries nobody", None, status(CAPACITY_UNKNOWN, "NicUnknown"), None),
        ("a drain is no alarm", None, status(DRAINING, "SessionsMoving"), None),
    ] {
        let region = TurnRegion { status: before, ..region() };
        let notes = alarms(&region, &after);
        assert!(notes.iter().all(|note| note.warning && note.message.ends_with(": do this")), "{case}: {notes:?}");
        let reasons: Vec<&str> = notes.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, expected.into_iter().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn a_number_of_relays_is_an_event_when_it_changes_and_not_when_a_new_leader_finds_it() {
    use rtcfleet_crds::turn_region::ScalingStatus;
    let with = |desired| {
        let scaling = ScalingStatus { desired, reason: "Target".into(), limited_by: Vec::new() };
        TurnRegionStatus { scaling: Some(scaling), ..TurnRegionStatus::default() }
    };
    let choice = |kind| Choice { kind, reason: "Target", slot: None, message: String::new(), inputs: Value::Null };
    for (case, kind, before, expected) in [
        ("the first number", "scale", None, Telling::Event),
        ("another number", "scale", Some(with(2)), Telling::Event),
        ("the same number", "scale", Some(with(3)), Telling::Quietly),
        ("something is done", "drain", Some(with(3)), Telling::Event),
        ("an upgrade is stopped", "halt", Some(with(3)), Telling::Warning),
    ] {
        let region = TurnRegion { status: before, ..region() };
        assert_eq!(telling(&choice(kind), &region, &with(3)), expected, "{case}");
    }
}
