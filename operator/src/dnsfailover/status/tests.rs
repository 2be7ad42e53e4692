use std::time::Duration;

use super::*;
use crate::failover::answer::Answer;
use crate::failover::policy::Pinned;
use crate::failover::region::{Health, Phase, Region};
use crate::failover::votes::Votes;
use crate::publish::{Owner, Ttl};

fn now() -> Timestamp {
    "2026-02-01T12:00:00Z".parse().unwrap()
}

fn set(last: u8) -> RecordSet {
    let owner = Owner::new("rtc", "india", "1").unwrap();
    RecordSet::new("turn.example.org".parse().unwrap(), owner, Ttl::new(30).unwrap(), [[192, 0, 2, last].into()])
        .unwrap()
}

/// Two healthy regions whose answer is published everywhere.
fn look() -> Look {
    let region = |name: &str| Region { health: Health::Healthy, weight_percent: 50, ..Region::initial(name, now()) };
    let decision = Decision {
        answer: Answer::of([[192, 0, 2, 1].into()]),
        publish: true,
        regions: vec![region("central"), region("south")],
        votes: vec![Votes::default(); 2],
        active: vec!["central".into(), "south".into()],
        ..Decision::default()
    };
    Look {
        decision,
        left_out: vec![],
        points: vec![],
        alarms: vec![],
        sets: vec![set(1)],
        told: Told {
            sets: vec![set(1)],
            withdrawn: vec![],
            progress: Progress::Everywhere { servers: 2 },
            took: Some(Duration::from_millis(40)),
        },
        unpublishable: None,
        probers: None,
        is_starting: false,
    }
}

fn shown(status: &DnsFailoverStatus) -> Vec<String> {
    status.conditions.iter().map(|one| format!("{}={} {}", one.type_, one.status, one.reason)).collect()
}

fn first(look: &Look) -> Vec<String> {
    shown(&looked(1, None, look, now()))
}

#[test]
fn ready_says_in_a_word_how_the_name_is() {
    assert_eq!(first(&look()), ["Ready=True Healthy"]);
    let mut failover = look();
    failover.decision.regions[0].phase = Phase::Withdrawn;
    assert_eq!(first(&failover), ["Ready=True Failover"]);
    let mut returning = look();
    returning.decision.regions[0].phase = Phase::Returning;
    assert_eq!(first(&returning), ["Ready=True Returning"]);
    let mut degraded = look();
    degraded.decision.degraded = vec!["callers are sent to central, which fails".into()];
    assert_eq!(first(&degraded), ["Ready=True Degraded", "Degraded=True CallersAtRisk"]);
    let mut unknown = look();
    unknown.decision.regions[1].health = Health::Unknown;
    assert_eq!(first(&unknown), ["Ready=True NotJudged"]);
    let mut pinned = look();
    let expires_at = now();
    pinned.decision.frozen = Some(Freeze::Overridden(Pinned { regions: vec![], reason: "test".into(), expires_at }));
    assert_eq!(first(&pinned), ["Ready=True Overridden", "Overridden=True Overridden"]);
    let mut observing = look();
    observing.decision.publish = false;
    assert_eq!(first(&observing), ["Ready=True Observing"]);
    let mut empty = look();
    empty.decision.answer = Answer::default();
    assert_eq!(first(&empty), ["Ready=False NoRelays"]);
}

#[test]
fn a_name_is_ready_once_its_first_answer_is_published_and_stays_so_while_another_is_on_its_way() {
    let mut first_one = look();
    first_one.told = Told::default();
    let before = looked(1, None, &first_one, now());
    assert_eq!(shown(&before), ["Ready=False Publishing", "Reconciling=True Publishing"]);
    let ready = looked(1, Some(&before), &look(), now());
    let mut next = look();
    next.sets = vec![set(2)];
    assert_eq!(shown(&looked(1, Some(&ready), &next, now())), ["Ready=True Healthy", "Reconciling=True Publishing"]);
}

#[test]
fn servers_that_do_not_take_the_answer_take_ready_away_and_those_that_are_behind_do_not() {
    let ready = looked(1, None, &look(), now());
    let with = |progress| {
        let mut look = look();
        look.told.progress = progress;
        shown(&looked(1, Some(&ready), &look, now()))
    };
    let behind = with(Progress::Behind(vec!["ns2: tells 192.0.2.9".into()]));
    assert_eq!(behind, ["Ready=True Healthy", "Reconciling=True ServersBehind"]);
    let failed = |must_act| Progress::Failed { reason: "DnsUnreachable", message: "no".into(), must_act };
    assert_eq!(with(failed(false)), ["Ready=False DnsUnreachable", "Reconciling=True DnsUnreachable"]);
    assert_eq!(with(failed(true)), ["Ready=False DnsUnreachable", "Stalled=True DnsUnreachable"]);
}

#[test]
fn nobody_is_told_that_probers_are_missing_before_they_could_start() {
    let point = VantagePointStatus { name: "a".into(), region: None, state: VantagePointState::Silent };
    let lost = |is_starting| Look {
        points: vec![point.clone()],
        decision: Decision { frozen: Some(Freeze::QuorumLost { fine: 0, needed: 2 }), ..look().decision },
        is_starting,
        ..look()
    };
    assert_eq!(first(&lost(true)), ["Ready=True Healthy"]);
    let frozen = ["Ready=True Healthy", "Frozen=True QuorumLost", "VantagePointsMissing=True Silent"];
    assert_eq!(first(&lost(false)), frozen);
    let before = looked(1, None, &lost(false), now());
    assert_eq!(shown(&looked(1, Some(&before), &lost(true), now())), frozen, "a new leader takes nothing back");
}

#[test]
fn names_that_may_hold_an_answer_are_known_until_they_are_withdrawn() {
    let mut before = looked(1, None, &look(), now());
    assert_eq!(before.published_names, ["turn.example.org"]);
    before.published_names.push("central.turn.example.org".into());
    assert_eq!(looked(1, Some(&before), &look(), now()).published_names.len(), 2);
    let mut withdrawn = look();
    withdrawn.told.withdrawn = vec!["central.turn.example.org".parse().unwrap()];
    assert_eq!(looked(1, Some(&before), &withdrawn, now()).published_names, ["turn.example.org"]);
}

#[test]
fn a_flip_has_its_times_and_the_second_one_when_every_server_tells_it() {
    let mut flipped = look();
    flipped.sets = vec![set(2)];
    flipped.decision.flip = Some(Flip {
        from: vec!["central".into(), "south".into()],
        to: vec!["south".into()],
        reason: "Unhealthy",
        detection: Some(Duration::from_millis(2300)),
    });
    let status = looked(1, None, &flipped, now());
    let flip = status.last_flip.clone().unwrap();
    assert_eq!((flip.detection_milliseconds, flip.publication_milliseconds), (Some(2300), None));
    let flip = looked(1, Some(&status), &look(), now()).last_flip.unwrap();
    assert_eq!((flip.reason.as_str(), flip.publication_milliseconds), ("Unhealthy", Some(40)));
}

#[test]
fn a_pass_that_failed_takes_nothing_back() {
    let ready = looked(1, None, &look(), now());
    let after = failed(2, Some(&ready), false, "NoAnswer", "the API server does not answer", now());
    assert_eq!(shown(&after), ["Ready=True AsLastSeen", "Reconciling=True NoAnswer"]);
    assert_eq!(after.answer, ready.answer);
    let mistaken = failed(2, Some(&ready), true, "InvalidSpec", "spec.ttl: …", now());
    assert_eq!(shown(&mistaken), ["Ready=False InvalidSpec", "Stalled=True InvalidSpec"]);
}

#[test]
fn the_same_look_later_gives_the_same_status() {
    let before = looked(1, None, &look(), now());
    let later = looked(1, Some(&before), &look(), now() + Duration::from_mins(1));
    assert_eq!(before, later);
}
