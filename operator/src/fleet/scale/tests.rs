use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fleet::policy::Policy;
use crate::fleet::test_support::{external, machine, noon, scaling, silent, slot, stopped, with_load};

/// A region over time: every look is one pass.
struct Story {
    scaling: Scaling,
    history: History,
    start: Instant,
    seconds: u64,
    before: Option<u32>,
    machines: Vec<Machine>,
    others: Vec<OtherRegion>,
    all_known: bool,
}

impl Story {
    fn of(scaling: Scaling) -> Self {
        let start = Instant::now();
        let machines = (0..200).map(|n| machine(&format!("m{n}"))).collect();
        Self {
            scaling,
            history: History::new(start),
            start,
            seconds: 0,
            before: None,
            machines,
            others: Vec::new(),
            all_known: true,
        }
    }

    fn look(&mut self, after: u64, slots: &[Slot]) -> Scale {
        self.seconds += after;
        let count = Count::Follow(Box::new(self.scaling.clone()));
        let seen = Seen {
            slots,
            machines: &self.machines,
            others: &self.others,
            all_known: self.all_known,
            before: self.before,
            now: noon() + jiff::SignedDuration::from_secs(i64::try_from(self.seconds).expect("seconds")),
            instant: self.start + Duration::from_secs(self.seconds),
        };
        let scale = decide(&count, &seen, &mut self.history);
        self.before = Some(scale.desired);
        scale
    }

    /// As many nodes as were wanted last, that share this load.
    fn loaded(&mut self, after: u64, load: f64) -> Scale {
        let count = self.before.unwrap_or(self.scaling.min);
        let slots: Vec<Slot> = (0..count).map(|n| with_load(slot(n), (load / f64::from(count)).min(1.0))).collect();
        self.look(after, &slots)
    }
}

fn bare() -> Scaling {
    Scaling { headroom_percent: 100, survivor_percent: None, ..scaling() }
}

#[test]
fn more_than_the_target_is_answered_at_once_and_less_only_after_a_whole_window() {
    let mut story = Story::of(bare());
    assert_eq!(story.loaded(0, 1.3).desired, 2, "two nodes at 65 %");
    let grown = story.loaded(15, 1.32);
    assert_eq!((grown.desired, grown.reason), (3, "Target"), "two nodes at 66 %");
    for _ in 0..19 {
        assert_eq!(story.loaded(15, 0.5).desired, 3, "after {} s", story.seconds);
    }
    story.loaded(45, 0.5);
    let shrunk = story.loaded(15, 0.5);
    assert_eq!((shrunk.desired, shrunk.reason), (2, "Minimum"), "after {} s", story.seconds);
}

#[test]
fn a_leader_that_has_just_begun_shrinks_nothing() {
    let mut story = Story::of(bare());
    story.before = Some(7);
    let first = story.loaded(0, 0.5);
    assert_eq!((first.desired, first.reason), (7, "Stabilization"));
    story.seconds = 300;
    assert_eq!(story.loaded(1, 0.5).desired, 2);
}

#[test]
fn a_new_minimum_or_maximum_holds_at_once() {
    let mut story = Story::of(bare());
    story.loaded(0, 0.1);
    story.scaling.min = 5;
    assert_eq!(story.loaded(15, 0.1).desired, 5);
    story.scaling.max = Some(3);
    story.scaling.min = 1;
    let limited = story.loaded(15, 2.9);
    assert_eq!((limited.desired, limited.limited_by), (3, vec![Limit::MaxReplicas]));
}

#[test]
fn every_limit_that_bites_is_named() {
    let machines = |count| (0..count).map(|n| machine(&format!("m{n}"))).collect::<Vec<_>>();
    let nameless = |mut all: Vec<Machine>| {
        all[0].addressed = false;
        all
    };
    // Two nodes on machines of their own, at 90 %: three are wanted.
    let slots = [with_load(slot(0), 0.9), with_load(slot(1), 0.9)];
    for (case, max, machines, expected) in [
        ("room enough", Some(9), machines(9), (3, vec![])),
        ("the maximum", Some(2), machines(9), (2, vec![Limit::MaxReplicas])),
        ("no machine, and nobody said how far it may grow", None, machines(0), (2, vec![Limit::NoMachine])),
        ("no machine yet: some are waited for", Some(9), machines(0), (3, vec![Limit::NoMachine])),
        ("machines without addresses", None, nameless(machines(1)), (2, vec![Limit::NoMachine, Limit::NoAddress])),
    ] {
        let mut story = Story::of(Scaling { max, ..bare() });
        story.machines = machines;
        let scale = story.look(0, &slots);
        assert_eq!((scale.desired, scale.limited_by), expected, "{case}");
    }
}

#[test]
fn a_fleet_that_cannot_be_seen_stays_as_it_is() {
    let mut story = Story::of(bare());
    story.before = Some(4);
    story.seconds = 1000;
    let blind = [with_load(slot(0), 0.9), silent(slot(1)), silent(slot(2)), silent(slot(3))];
    let scale = story.look(0, &blind);
    assert_eq!(
        (scale.desired, scale.reason, scale.limited_by.as_slice()),
        (4, "MetricsMissing", &[Limit::MetricsMissing][..])
    );
    // Half of them tell: those that do not count as idle for growing, and as loaded for shrinking.
    let half = [with_load(slot(0), 0.1), with_load(slot(1), 0.1), silent(slot(2)), silent(slot(3))];
    assert_eq!(story.look(15, &half).desired, 4, "what was not seen is no reason to shrink");
    assert_eq!(story.look(280, &half).desired, 4, "until a window has been seen");
    let shrunk = story.look(25, &half);
    assert_eq!((shrunk.desired, shrunk.reason), (3, "Target"), "two that tell, and two that count as at their target");
}

#[test]
fn nodes_that_do_not_tell_are_no_reason_to_grow() {
    let mut story = Story::of(scaling());
    let told: Vec<Slot> = (0..10).map(|n| with_load(slot(n), 0.5)).collect();
    let with_silent = |silent_ones: usize| -> Vec<Slot> {
        told.iter().cloned().enumerate().map(|(n, slot)| if n < silent_ones { silent(slot) } else { slot }).collect()
    };
    story.before = Some(10);
    for silent_ones in [0, 4, 2, 5, 6, 10, 3, 0] {
        assert_eq!(story.look(15, &with_silent(silent_ones)).desired, 10, "{silent_ones} are silent");
    }
    // Nodes that have just begun have nothing to tell yet.
    let fresh: Vec<Slot> = told.iter().cloned().chain([slot(10), slot(11)]).collect();
    story.before = Some(12);
    story.seconds += 1000;
    assert_eq!(story.look(15, &fresh).desired, 12);
}

#[test]
fn the_end_of_a_silence_is_no_rise_of_load() {
    let mut story = Story::of(scaling());
    let told: Vec<Slot> = (0..8).map(|n| with_load(slot(n), 0.5)).collect();
    let blind: Vec<Slot> = told.iter().cloned().map(silent).collect();
    story.before = Some(8);
    let mut numbers = Vec::new();
    for seen in [&told, &told, &blind, &blind, &blind, &told, &told, &told, &told] {
        numbers.push(story.look(5, seen).desired);
    }
    assert_eq!(numbers, [8; 9]);
}

#[test]
fn what_was_wanted_before_an_outage_of_a_whole_region_is_wanted_after_it() {
    let mut story = Story::of(bare());
    let busy: Vec<Slot> = (0..8).map(|n| with_load(slot(n), 0.6)).collect();
    story.before = Some(8);
    story.machines = (0..8).map(|n| machine(&format!("own-{n}"))).collect();
    assert_eq!(story.look(15, &busy).desired, 8);
    let machines = std::mem::take(&mut story.machines);
    let pending: Vec<Slot> = (0..8)
        .map(|n| {
            let mut slot = stopped(slot(n));
            slot.pod.as_mut().expect("a pod").machine = None;
            slot
        })
        .collect();
    for _ in 0..80 {
        assert_eq!(story.look(15, &pending).desired, 4, "as many as may wait for machines");
    }
    story.machines = machines;
    assert_eq!(story.look(15, &pending).desired, 8);
}

#[test]
fn a_timetable_is_ahead_of_its_time_by_a_nodes_start() {
    let line = |cron, min| schedule::Scheduled::parse(cron, "UTC", min).expect("a time");
    let mut story = Story::of(Scaling { schedule: vec![line("1 12 * * *", 9), line("0 0 * * *", 0)], ..bare() });
    assert_eq!(story.loaded(30, 0.1).desired, 2, "nodes took 10 s lately");
    let ahead = story.loaded(20, 0.1);
    assert_eq!((ahead.desired, ahead.least, ahead.reason), (9, 9, "Schedule"));
}

#[test]
fn a_load_that_rises_is_met_before_it_is_there() {
    let mut story = Story::of(bare());
    let slow_start = |load: f64| -> Vec<Slot> {
        (0..2)
            .map(|n| {
                let mut slot = with_load(slot(n), load / 2.0);
                slot.pod.as_mut().expect("a pod").start = Some(Duration::from_mins(1));
                slot
            })
            .collect()
    };
    let mut seen = Vec::new();
    for step in 0..5 {
        seen.push(story.look(15, &slow_start(0.8 + 0.08 * f64::from(step))).desired);
    }
    assert_eq!(seen, [2, 2, 2, 3, 3], "56 % of two nodes, and 16 points a minute more");
}

#[test]
fn who_counts_themselves_is_not_asked_about_load() {
    let slots = [with_load(slot(0), 0.99)];
    let machines: Vec<Machine> = (0..9).map(|n| machine(&format!("m{n}"))).collect();
    let seen = Seen {
        slots: &slots,
        machines: &machines,
        others: &[],
        all_known: true,
        before: Some(5),
        now: noon(),
        instant: Instant::now(),
    };
    let Policy { count, .. } = external(1);
    let scale = decide(&count, &seen, &mut History::new(seen.instant));
    assert_eq!((scale.desired, scale.reason, scale.limited_by), (1, "ExternalScaler", vec![]));
}

proptest! {
    #[test]
    fn whatever_the_load_was_the_number_is_within_its_bounds_and_above_what_the_rules_ask(
        steps in vec((1_u64..400, 0.0_f64..30.0), 1..60), min in 1_u32..10, more in 0_u32..30,
    ) {
        let max = min + more;
        let mut story = Story::of(Scaling { min, max: Some(max), ..scaling() });
        for (after, load) in steps {
            let scale = story.loaded(after, load);
            prop_assert!((min..=max).contains(&scale.desired), "{scale:?}");
            let asked = rules::highest(&scale.rules).expect("rules").nodes.min(max);
            prop_assert!(scale.desired >= asked, "{scale:?}");
            prop_assert_eq!(scale.limited_by.contains(&Limit::MaxReplicas), scale.desired == max && story_wants(&story) > max);
        }
    }

    #[test]
    fn a_steady_load_comes_to_a_steady_number(load in 0.0_f64..30.0, earlier in vec((1_u64..100, 0.0_f64..30.0), 0..20)) {
        let mut story = Story::of(scaling());
        for (after, load) in earlier {
            story.loaded(after, load);
        }
        let numbers: Vec<u32> = (0..80).map(|_| story.loaded(15, load).desired).collect();
        let falls_once = numbers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        prop_assert!(numbers[60..].windows(2).all(|pair| pair[0] == pair[1]), "{numbers:?}");
        prop_assert!(falls_once <= 20, "{numbers:?}");
    }

    #[test]
    fn one_more_call_never_lowers_the_number(
        steps in vec((1_u64..60, 0.0_f64..20.0), 1..30), more in 0.0_f64..3.0,
    ) {
        let (mut story, mut busier) = (Story::of(scaling()), Story::of(scaling()));
        let (&(after, load), before) = steps.split_last().expect("steps");
        for (after, load) in before {
            story.loaded(*after, *load);
            busier.loaded(*after, *load);
        }
        // The same nodes carry the call, whatever there are.
        let with = busier.loaded(after, load + more).desired;
        prop_assert!(with >= story.loaded(after, load).desired);
    }
}

/// What the window remembers.
fn story_wants(story: &Story) -> u32 {
    story.history.highest().map_or(0, |wanted| wanted.nodes)
}
