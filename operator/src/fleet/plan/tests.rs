//! Tables at the decision, and a small world in which any order of events must keep the promises.

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;
use rtcfleet_node_api::{Drain, Relaying};

use super::*;
use crate::fleet::ending::{GRACE, WaitsFor};
use crate::fleet::history::History;
use crate::fleet::rollout::Failure;
use crate::fleet::scale::{self, Seen};
use crate::fleet::test_support::{external, machine, noon, status};

/// A slot of the little world: what Kubernetes and the node in it would say.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each can go wrong by itself")]
struct Fake {
    index: u32,
    template: &'static str,
    /// Revision of the running pod; `None`: it does not run.
    runs: Option<&'static str>,
    intent: Option<Intent>,
    sessions: u64,
    drain: Option<Timestamp>,
    alternates: Vec<IpAddr>,
    silent: bool,
    /// It runs and has not begun to serve: its Secret or its address is missing.
    starting: bool,
    /// It serves, and no session of its own went through it yet.
    unproven: bool,
    /// Its machine is cut off.
    lost: bool,
}

impl Fake {
    fn new(index: u32, template: &'static str) -> Self {
        Self {
            index,
            template,
            runs: Some(template),
            intent: None,
            sessions: 0,
            drain: None,
            alternates: Vec::new(),
            silent: false,
            starting: false,
            unproven: false,
            lost: false,
        }
    }

    fn slot(&self, now: Timestamp) -> Slot {
        let pod = self.runs.map(|revision| NodePod {
            name: format!("centralindia-{}-x", self.index),
            uid: String::new(),
            revision: Some(revision.into()),
            machine: Some(format!("m{}", self.index)),
            host_ip: None,
            ready: !self.starting,
            running: true,
            terminating: false,
            waiting_for: None,
            created: Some(noon()),
            start: None,
        });
        let state = match self.drain {
            _ if self.starting => NodeState::Starting,
            None => NodeState::Active,
            Some(deadline) if self.sessions == 0 || now >= deadline => NodeState::Drained,
            Some(_) => NodeState::Draining,
        };
        let node = match &pod {
            None => NodeReport::Absent,
            Some(_) if self.silent => NodeReport::Silent { why: "timed out".into() },
            Some(_) => {
                let mut status = status(state);
                status.drain = self.drain.map(|deadline| Drain {
                    since: noon(),
                    deadline,
                    terminating: false,
                    alternates: self.alternates.clone(),
                });
                status.public_addresses = vec![address(self.index)];
                status.sessions.allocations = self.sessions;
                if self.unproven {
                    status.relaying = Some(Relaying { checked_at: noon(), problem: Some("no answer".into()) });
                }
                NodeReport::Says(Box::new(status))
            }
        };
        Slot {
            index: self.index,
            name: format!("centralindia-{}", self.index),
            revision: Some(self.template.to_owned()),
            intent: self.intent,
            is_being_deleted: false,
            is_lost: self.lost,
            pod,
            node,
        }
    }
}

fn address(index: u32) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(index).expect("a small number")])
}

/// As many machines as these slots run on, and `spare` more.
fn machines(fakes: &[Fake], spare: usize) -> Vec<Machine> {
    let taken = fakes.iter().map(|fake| machine(&format!("m{}", fake.index)));
    taken.chain((0..spare).map(|n| machine(&format!("spare-{n}")))).collect()
}

/// A plan where there is no machine to spare.
fn planned(count: u32, fakes: &[Fake], revision: &str, now: Timestamp) -> Plan {
    planned_by(&Policy { max_draining: Some(100), ..external(count) }, fakes, 0, revision, now)
}

fn planned_by(policy: &Policy, fakes: &[Fake], spare: usize, revision: &str, now: Timestamp) -> Plan {
    let slots: Vec<Slot> = fakes.iter().map(|fake| fake.slot(now)).collect();
    let machines = machines(fakes, spare);
    let instant = std::time::Instant::now();
    let seen = Seen { slots: &slots, machines: &machines, others: &[], all_known: true, before: None, now, instant };
    let scale = scale::decide(&policy.count, &seen, &mut History::new(instant));
    plan(Situation { policy, scale: &scale, slots: &slots, machines: &machines, revision, now })
}

fn fleet(sessions: &[u64]) -> Vec<Fake> {
    (0..).zip(sessions).map(|(index, &sessions)| Fake { sessions, ..Fake::new(index, "a") }).collect()
}

/// The steps in short, for tables.
fn story(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Create { slot } => format!("create {slot}"),
            Step::Hold { slot } => format!("hold {slot}"),
            Step::Replace { slot } => format!("replace {slot}"),
            Step::Mark { slot, intent } => format!("mark {slot} {}", intent.map_or("none", Intent::reason)),
            Step::Tell { slot, state: SetState::Active } => format!("tell {slot} active"),
            Step::Tell { slot, state: SetState::Draining { .. } } => format!("tell {slot} draining"),
            Step::Delete { slot } => format!("delete {slot}"),
        })
        .collect()
}

#[test]
fn an_empty_region_gets_its_minimum_from_slot_0_up() {
    assert_eq!(story(&planned(3, &[], "a", noon())), ["create 0", "create 1", "create 2"]);
}

#[test]
fn a_lost_slot_comes_back_under_its_own_number() {
    let fleet = vec![Fake::new(0, "a"), Fake::new(2, "a")];
    assert_eq!(story(&planned(3, &fleet, "a", noon())), ["create 1", "hold 0", "hold 2"]);
}

#[test]
fn a_fleet_as_it_should_be_is_only_held() {
    let plan = planned(2, &fleet(&[3, 0]), "a", noon());
    assert_eq!(story(&plan), ["hold 0", "hold 1"]);
    assert!(plan.choices.is_empty() && plan.waiting.is_empty());
}

#[test]
fn a_slot_with_live_sessions_is_not_drained_while_an_idle_one_exists() {
    let plan = planned(2, &fleet(&[4, 0, 1]), "a", noon());
    assert_eq!(story(&plan), ["mark 1 ScaleDown", "hold 0", "hold 2"]);
}

#[test]
fn of_equally_loaded_slots_the_highest_number_goes() {
    assert_eq!(story(&planned(1, &fleet(&[0, 0]), "a", noon()))[0], "mark 1 ScaleDown");
}

#[test]
fn a_node_that_does_not_run_goes_before_one_that_serves() {
    let mut fleet = fleet(&[0, 0]);
    fleet[0].runs = None;
    assert_eq!(story(&planned(1, &fleet, "a", noon()))[0], "mark 0 ScaleDown");
}

#[test]
fn a_retiring_slot_is_told_once_waits_for_its_sessions_and_then_goes() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let retire = Some(Intent::Retire { deadline });
    let going = |sessions, drain: Option<Timestamp>| {
        let alternates = drain.map(|_| address(0)).into_iter().collect();
        Fake { intent: retire, sessions, drain, alternates, ..Fake::new(1, "a") }
    };
    for (case, slot, now, expected) in [
        ("untold", going(2, None), noon(), "tell 1 draining"),
        ("told, with sessions", going(2, Some(deadline)), noon(), "hold 0"),
        ("without sessions", going(0, Some(deadline)), noon(), "delete 1"),
        ("idle but not told yet: a caller may be on the way", going(0, None), noon(), "tell 1 draining"),
        ("silent", Fake { silent: true, ..going(2, None) }, noon(), "hold 0"),
        ("silent long after its deadline", Fake { silent: true, ..going(2, None) }, deadline + GRACE, "delete 1"),
        ("not running", Fake { runs: None, ..going(0, None) }, noon(), "delete 1"),
        ("never began to serve", Fake { starting: true, ..going(0, None) }, noon(), "delete 1"),
    ] {
        let plan = planned(1, &[Fake::new(0, "a"), slot], "a", now);
        assert_eq!(story(&plan)[0], expected, "{case}");
    }
}

#[test]
fn a_slot_on_its_way_out_is_taken_back_before_a_new_one_is_made() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let mut fleet = fleet(&[1, 1]);
    fleet[1].intent = Some(Intent::Retire { deadline });
    fleet[1].drain = Some(deadline);
    let plan = planned(3, &fleet, "a", noon());
    assert_eq!(story(&plan), ["mark 1 none", "tell 1 active", "create 2", "hold 0"]);
}

#[test]
fn a_new_template_drains_one_slot_at_a_time_and_no_template_changes_under_sessions() {
    let plan = planned(3, &fleet(&[5, 5, 5]), "b", noon());
    assert_eq!(story(&plan), ["mark 0 Upgrade"]);
    assert_eq!(plan.waiting.len(), 2);
}

#[test]
fn a_slot_that_is_down_uses_up_the_budget_of_an_exchange() {
    let mut fleet = fleet(&[5, 5, 5]);
    fleet[2].runs = None;
    let plan = planned(3, &fleet, "b", noon());
    assert_eq!(story(&plan), ["replace 2"]);
}

#[test]
fn a_drained_slot_is_exchanged_and_unmarked_once_its_new_node_serves() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let exchange = Some(Intent::Exchange { deadline });
    let drained = Fake { intent: exchange, drain: Some(deadline), ..Fake::new(0, "a") };
    let starting = Fake { intent: exchange, template: "b", runs: None, ..Fake::new(0, "b") };
    let serving = Fake { intent: exchange, ..Fake::new(0, "b") };
    for (case, slot, expected) in [
        ("drained", drained, vec!["replace 0"]),
        ("starting", starting, vec!["hold 0"]),
        ("serving", serving, vec!["hold 0", "mark 0 none"]),
    ] {
        assert_eq!(story(&planned(1, &[slot], "b", noon())), expected, "{case}");
    }
}

#[test]
fn a_broken_node_is_mended_at_once_and_waits_for_no_deadline() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let exchange = Some(Intent::Exchange { deadline });
    let starting = Fake { intent: exchange, starting: true, ..Fake::new(0, "a") };
    let crashing = Fake { intent: exchange, runs: None, ..Fake::new(0, "a") };
    for (case, slot) in [("never began to serve", starting), ("crashes", crashing)] {
        assert_eq!(story(&planned(1, &[slot], "b", noon())), ["replace 0"], "{case}");
    }
}

#[test]
fn a_session_that_slipped_in_as_a_drain_ended_is_waited_for() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let mut slot =
        Fake { intent: Some(Intent::Retire { deadline }), drain: Some(deadline), ..Fake::new(0, "a") }.slot(noon());
    let NodeReport::Says(status) = &mut slot.node else { panic!("it answers") };
    status.sessions.allocations = 1;
    assert_eq!(status.state, NodeState::Drained);
    assert_eq!(may_end(&slot, noon()), Err(WaitsFor::Sessions { live: 1, deadline }));
}

#[test]
fn an_exchange_that_is_taken_back_makes_the_node_active_again() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let slot =
        Fake { intent: Some(Intent::Exchange { deadline }), drain: Some(deadline), sessions: 1, ..Fake::new(0, "a") };
    assert_eq!(story(&planned(1, &[slot], "a", noon())), ["hold 0", "tell 0 active"]);
}

fn exchanged(fakes: &[Fake], spare: usize) -> Plan {
    planned_by(&external(2), fakes, spare, "b", noon())
}

#[test]
fn where_a_machine_is_spare_a_node_of_the_new_revision_serves_before_an_old_one_goes() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let outdated = || fleet(&[5, 0]);
    let with = |third: Fake| [outdated(), vec![third]].concat();
    let superseded = vec![
        Fake { intent: Some(Intent::Supersede { deadline }), ..outdated().remove(1) },
        outdated().remove(0),
        Fake::new(2, "b"),
    ];
    for (case, fakes, spare, expected) in [
        ("it is made first", outdated(), 1, vec!["create 2"]),
        ("it starts", with(Fake { runs: None, ..Fake::new(2, "b") }), 0, vec!["hold 2"]),
        ("it is not proven", with(Fake { unproven: true, ..Fake::new(2, "b") }), 0, vec!["hold 2"]),
        (
            "it is proven: an old one goes, the idle one first",
            with(Fake::new(2, "b")),
            0,
            vec!["mark 1 Superseded", "hold 2"],
        ),
        ("until that has gone nothing else begins", superseded, 0, vec!["tell 1 draining", "hold 2"]),
    ] {
        assert_eq!(story(&exchanged(&fakes, spare)), expected, "{case}");
    }
}

#[test]
fn a_fleet_that_shrinks_before_its_upgrade_has_begun_loses_its_idle_nodes() {
    let plan = planned_by(&external(1), &fleet(&[5, 0, 5]), 1, "b", noon());
    assert_eq!(story(&plan)[0], "mark 1 ScaleDown");
}

#[test]
fn a_slot_that_goes_for_a_newer_one_is_not_taken_for_one_too_many_as_well() {
    let fakes =
        [fleet(&[0, 0]), [2, 3, 4].map(|index| Fake { sessions: 1, ..Fake::new(index, "b") }).to_vec()].concat();
    let plan = planned_by(&Policy { max_draining: Some(9), ..external(2) }, &fakes, 0, "b", noon());
    let marks: Vec<String> = story(&plan).into_iter().filter(|step| step.starts_with("mark")).collect();
    assert_eq!(marks, ["mark 1 Superseded", "mark 0 ScaleDown", "mark 4 ScaleDown"]);
}

#[test]
fn a_revision_that_does_not_serve_stops_there_and_the_rest_stays() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let broken = Fake { starting: true, ..Fake::new(1, "b") };
    let draining =
        Fake { intent: Some(Intent::Exchange { deadline }), drain: Some(deadline), sessions: 1, ..Fake::new(0, "a") };
    let long_after = noon() + SignedDuration::from_mins(11);
    let plan = planned_by(&external(3), &[draining, broken.clone(), Fake::new(2, "a")], 0, "b", long_after);
    assert_eq!(plan.rollout, Rollout::Failed { slot: 1, why: Failure::NotReady });
    assert_eq!(story(&plan), ["mark 0 none", "tell 0 active", "hold 1"]);
    let halt = &plan.choices[0];
    assert_eq!((halt.kind, halt.reason, halt.slot), ("halt", "UpgradeFailed", Some(1)));

    let back = planned_by(&external(3), &[Fake::new(0, "a"), broken, Fake::new(2, "a")], 0, "a", long_after);
    assert_eq!(story(&back), ["hold 0", "mark 1 Upgrade", "hold 2"], "changed back");
}

#[test]
fn what_was_made_first_for_an_upgrade_that_is_taken_back_goes_again() {
    let mut fakes = fleet(&[5, 5]);
    fakes.push(Fake { starting: true, ..Fake::new(2, "b") });
    let plan = planned_by(&external(2), &fakes, 0, "a", noon());
    assert_eq!(story(&plan), ["mark 2 Superseded", "hold 0", "hold 1"]);
}

#[test]
fn a_paused_upgrade_begins_with_no_further_node() {
    let paused = Policy { paused: true, ..external(2) };
    let plan = planned_by(&paused, &fleet(&[5, 5]), 1, "b", noon());
    assert_eq!(story(&plan), Vec::<String>::new());
    assert_eq!(plan.waiting[0], "slot 0 waits because upgrade.paused is true");
}

#[test]
fn a_node_on_a_lost_machine_is_replaced_where_there_is_another_one_and_kept_if_it_comes_back_busy() {
    let lost = || Fake { lost: true, silent: true, sessions: 7, ..Fake::new(1, "a") };
    let two = || vec![Fake::new(0, "a"), lost()];
    for (case, fakes, spare, expected) in [
        ("a machine is spare", two(), 1, vec!["create 2", "hold 0", "hold 1"]),
        ("no machine is spare", two(), 0, vec!["hold 0", "hold 1"]),
        ("it was replaced", [two(), vec![Fake::new(2, "a")]].concat(), 1, vec!["hold 0", "hold 1", "hold 2"]),
        (
            "it came back, busy",
            vec![Fake::new(0, "a"), Fake { lost: false, silent: false, ..lost() }, Fake::new(2, "a")],
            0,
            vec!["mark 2 ScaleDown", "hold 0", "hold 1"],
        ),
    ] {
        assert_eq!(story(&planned_by(&external(2), &fakes, spare, "a", noon())), expected, "{case}");
    }
}

#[test]
fn a_node_that_drains_is_told_of_those_that_stay_and_again_when_one_of_them_goes() {
    let deadline = noon() + SignedDuration::from_hours(1);
    let told = |alternates: &[u32], others: &[Fake]| {
        let going = Fake {
            intent: Some(Intent::Retire { deadline }),
            drain: Some(deadline),
            alternates: alternates.iter().copied().map(address).collect(),
            sessions: 1,
            ..Fake::new(9, "a")
        };
        let plan = planned(3, &[others, &[going]].concat(), "a", noon());
        plan.steps.iter().find_map(|step| match step {
            Step::Tell { slot: 9, state: SetState::Draining { alternates, .. } } => Some(alternates.clone()),
            _ => None,
        })
    };
    let others = fleet(&[5, 2, 3]);
    let to = |indices: &[u32]| Some(indices.iter().copied().map(address).collect::<Vec<_>>());
    assert_eq!(told(&[], &others), to(&[1, 2, 0]), "those with the fewest sessions first");
    assert_eq!(told(&[0, 1], &others), None, "it knows of some that stay");
    assert_eq!(told(&[0, 8], &others), to(&[1, 2, 0]), "one of them is gone");
    let mut draining = others.clone();
    draining[1].drain = Some(deadline);
    draining[1].sessions = 2;
    assert_eq!(told(&[0, 1], &draining), to(&[2, 0]), "one of them drains, whoever told it to");
}

#[test]
fn only_a_few_drain_at_a_time_because_there_are_too_many() {
    let twenty = fleet(&[1; 20]);
    let retired = |most: Option<u32>, fakes: &[Fake]| {
        let plan = planned_by(&Policy { max_draining: most, ..external(2) }, fakes, 0, "a", noon());
        story(&plan).iter().filter(|step| step.ends_with("ScaleDown")).count()
    };
    assert_eq!((retired(None, &twenty), retired(Some(7), &twenty)), (5, 7));
    let mut some = twenty;
    for fake in &mut some[..2] {
        fake.intent = Some(Intent::Retire { deadline: noon() + SignedDuration::from_hours(1) });
    }
    assert_eq!((retired(None, &some), retired(Some(7), &some)), (2, 5), "two drain already");
}

#[test]
fn a_large_change_is_cut_into_passes() {
    let plan = planned(500, &[], "a", noon());
    assert_eq!((plan.steps.len(), plan.partial), (MOST_PER_PASS, true));
}

/// What can happen between two looks.
#[derive(Clone, Debug)]
enum Event {
    Scale(u32),
    Template(&'static str),
    Crash(usize),
    Start(usize),
    Call(usize),
    HangUp(usize),
    Silence(usize, bool),
    Minutes(i64),
    /// Machines that nobody runs on.
    Spare(usize),
    /// A machine is cut off, or comes back.
    Lose(usize, bool),
    Look,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u32..5).prop_map(Event::Scale),
        prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(Event::Template),
        (0_usize..5).prop_map(Event::Crash),
        (0_usize..5).prop_map(Event::Start),
        (0_usize..5).prop_map(Event::Call),
        (0_usize..5).prop_map(Event::HangUp),
        (0_usize..5, any::<bool>()).prop_map(|(slot, silent)| Event::Silence(slot, silent)),
        (0_i64..90).prop_map(Event::Minutes),
        (0_usize..3).prop_map(Event::Spare),
        (0_usize..5, any::<bool>()).prop_map(|(slot, lost)| Event::Lose(slot, lost)),
        Just(Event::Look),
        Just(Event::Look),
    ]
}

struct World {
    fakes: Vec<Fake>,
    replicas: u32,
    template: &'static str,
    now: Timestamp,
    spare: usize,
}

impl World {
    fn new() -> Self {
        Self { fakes: Vec::new(), replicas: 2, template: "a", now: noon(), spare: 0 }
    }

    fn happens(&mut self, event: &Event) {
        let running = |fake: &&mut Fake| fake.runs.is_some();
        match *event {
            Event::Scale(replicas) => self.replicas = replicas,
            Event::Template(template) => self.template = template,
            Event::Crash(slot) => {
                self.fakes.iter_mut().filter(|fake| fake.index as usize == slot).for_each(stop);
            }
            Event::Start(slot) => self.start(|fake| fake.index as usize == slot),
            Event::Call(slot) => {
                let open = self.fakes.iter_mut().filter(running).filter(|fake| fake.drain.is_none());
                open.filter(|fake| fake.index as usize == slot).for_each(|fake| fake.sessions += 1);
            }
            Event::HangUp(slot) => {
                let calls = self.fakes.iter_mut().filter(|fake| fake.index as usize == slot);
                calls.for_each(|fake| fake.sessions = fake.sessions.saturating_sub(1));
            }
            Event::Silence(slot, silent) => {
                self.fakes.iter_mut().filter(|fake| fake.index as usize == slot).for_each(|fake| fake.silent = silent);
            }
            Event::Minutes(minutes) => {
                self.now += SignedDuration::from_mins(minutes);
                let now = self.now;
                let over = self.fakes.iter_mut().filter(|fake| fake.drain.is_some_and(|deadline| now >= deadline));
                over.for_each(|fake| fake.sessions = 0);
            }
            Event::Spare(spare) => self.spare = spare,
            Event::Lose(slot, lost) => {
                let there = self.fakes.iter_mut().filter(|fake| fake.index as usize == slot && fake.runs.is_some());
                there.for_each(|fake| (fake.lost, fake.silent) = (lost, lost));
            }
            Event::Look => {}
        }
    }

    fn start(&mut self, which: impl Fn(&Fake) -> bool) {
        let down = self.fakes.iter_mut().filter(|fake| fake.runs.is_none());
        for fake in down.filter(|fake| which(fake)) {
            fake.runs = Some(fake.template);
        }
    }

    fn no_busy_node_retires_while_an_idle_one_stays(&self, plan: &Plan) -> Result<(), TestCaseError> {
        let retires = |fake: &&Fake| {
            let marked = |step: &Step| matches!(step, Step::Mark { slot, intent: Some(Intent::Retire { .. }) } if *slot == fake.index);
            plan.steps.iter().any(marked)
        };
        let is_idle = |fake: &Fake| fake.runs.is_none() || (fake.sessions == 0 && !fake.silent);
        let superseded = |fake: &Fake| {
            plan.steps.iter().any(|step| matches!(step, Step::Mark { slot, intent: Some(_) } if *slot == fake.index))
        };
        let busy_goes = self.fakes.iter().filter(retires).any(|fake| !is_idle(fake));
        let idle_stays =
            self.fakes.iter().any(|fake| is_idle(fake) && fake.intent.is_none() && !fake.lost && !superseded(fake));
        prop_assert!(!(busy_goes && idle_stays), "{:?} of {:?}", plan.steps, self.fakes);
        Ok(())
    }

    /// One pass of the operator, and what must hold of it.
    fn look(&mut self) -> Result<Plan, TestCaseError> {
        let plan = planned_by(&external(self.replicas), &self.fakes, self.spare, self.template, self.now);
        self.no_busy_node_retires_while_an_idle_one_stays(&plan)?;
        for step in plan.steps.clone() {
            let index = step.slot();
            let fake = self.fakes.iter_mut().find(|fake| fake.index == index);
            match (step, fake) {
                (Step::Create { slot }, None) => {
                    self.fakes.push(Fake { runs: None, ..Fake::new(slot, self.template) });
                }
                (Step::Delete { .. }, Some(fake)) => {
                    ends_no_call(fake, self.now)?;
                    self.fakes.retain(|fake| fake.index != index);
                }
                (Step::Replace { .. }, Some(fake)) => {
                    ends_no_call(fake, self.now)?;
                    stop(fake);
                    fake.template = self.template;
                }
                (Step::Mark { intent, .. }, Some(fake)) => fake.intent = intent,
                (Step::Tell { state, .. }, Some(fake)) => {
                    (fake.drain, fake.alternates) = match state {
                        SetState::Active => (None, Vec::new()),
                        SetState::Draining { deadline, alternates } => (Some(deadline), alternates),
                    };
                }
                (Step::Hold { .. }, Some(fake)) => prop_assert_eq!(fake.template, self.template),
                (step, fake) => prop_assert!(false, "{step:?} of {fake:?}"),
            }
        }
        let exchanging =
            self.fakes.iter().filter(|fake| !fake.lost && matches!(fake.intent, Some(Intent::Exchange { .. })));
        let served_before = exchanging.filter(|fake| fake.runs.is_some() && fake.template != self.template).count();
        prop_assert!(served_before <= 1, "{served_before} nodes out of service for an exchange");
        Ok(plan)
    }
}

fn stop(fake: &mut Fake) {
    (fake.runs, fake.sessions, fake.drain, fake.silent, fake.lost) = (None, 0, None, false, false);
    fake.alternates.clear();
}

fn ends_no_call(fake: &Fake, now: Timestamp) -> Result<(), TestCaseError> {
    let passed = fake.intent.is_some_and(|intent| now >= intent.deadline());
    prop_assert!(fake.runs.is_none() || fake.sessions == 0 || passed, "a call ended before its deadline: {fake:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_call_ends_before_its_deadline_and_the_fleet_comes_to_rest(events in vec(event(), 0..60)) {
        let mut world = World::new();
        for event in &events {
            world.happens(event);
            world.look()?;
        }
        (0..8).for_each(|slot| world.happens(&Event::Lose(slot, false)));
        // A revision none of whose nodes answers is never proven, and goes no further.
        for fake in world.fakes.iter_mut().filter(|fake| fake.template == world.template) {
            fake.silent = false;
        }
        for _ in 0..60 {
            world.happens(&Event::Minutes(30));
            world.start(|_| true);
            world.look()?;
        }
        let plan = world.look()?;
        prop_assert_eq!(world.fakes.len(), world.replicas as usize);
        prop_assert!(plan.choices.is_empty() && plan.waiting.is_empty() && !plan.partial, "{:?}", plan);
        prop_assert!(world.fakes.iter().all(|fake| fake.template == world.template && fake.intent.is_none()));
    }
}
