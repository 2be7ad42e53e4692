//! Whatever happens, in whatever order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::decide::Decision;
use super::freeze::Freeze;
use super::policy::{Pinned, Policy};
use super::region::{Phase, Reason};
use super::test_support::{World, policy_with};

/// Something happens, and so many seconds pass.
#[derive(Clone, Debug)]
enum Event {
    Die(usize),
    Heal(usize),
    Silent(usize),
    CutOff(usize),
    Lying(usize),
    Fine(usize),
    Leader,
    Drain(usize),
    Undrain(usize),
}

fn event() -> impl Strategy<Value = (Event, u32)> {
    let what = (0_usize..9, 0_usize..3).prop_map(|(kind, which)| match kind {
        0 => Event::Die(which),
        1 => Event::Heal(which),
        2 => Event::Silent(which),
        3 => Event::CutOff(which),
        4 => Event::Lying(which),
        5 => Event::Fine(which),
        6 => Event::Leader,
        7 => Event::Drain(which),
        _ => Event::Undrain(which),
    });
    (what, 1_u32..30)
}

/// Only what one prober does, and leaders who change.
fn lone_event() -> impl Strategy<Value = (Event, u32)> {
    let what = prop_oneof![
        Just(Event::Silent(1)),
        Just(Event::CutOff(1)),
        Just(Event::Lying(1)),
        Just(Event::Fine(1)),
        Just(Event::Leader),
    ];
    (what, 1_u32..30)
}

fn happen(world: &mut World, event: &Event) {
    let name = |which: usize| world.seen[which % world.seen.len()].name.clone();
    let prober = |which: &usize| format!("p{which}");
    match event {
        Event::Die(which) => world.kill(&name(*which)),
        Event::Heal(which) => world.heal(&name(*which)),
        Event::Silent(which) => drop(world.faults.silent.insert(prober(which))),
        Event::CutOff(which) => drop(world.faults.cut_off.insert(prober(which))),
        Event::Lying(which) => drop(world.faults.lying.insert(prober(which))),
        Event::Fine(which) => {
            let faults = &mut world.faults;
            for whose in [&mut faults.silent, &mut faults.cut_off, &mut faults.lying] {
                whose.remove(&prober(which));
            }
        }
        Event::Leader => world.change_leader(),
        Event::Drain(which) | Event::Undrain(which) => {
            let state = if matches!(event, Event::Drain(_)) {
                super::seen::NodeState::Draining
            } else {
                super::seen::NodeState::Ready
            };
            let regions = world.seen.len();
            world.seen[which % regions].nodes.iter_mut().for_each(|node| node.state = state);
        }
    }
}

fn quick() -> Policy {
    policy_with("safety: {holdDown: 10s, maxHoldDown: 1m}, failback: {stepDuration: 15s}")
}

/// What must hold between two looks that follow each other.
fn hold_between(world: &World, before: &World, decision: &Decision) -> Result<(), TestCaseError> {
    prop_assert!(!decision.answer.is_empty(), "an empty answer");
    let withdrawn = decision.regions.iter().filter(|region| region.phase == Phase::Withdrawn).count();
    prop_assert!(withdrawn <= world.policy.safety.max_withdrawn, "{withdrawn} regions are out");
    for (now, votes) in decision.regions.iter().zip(&decision.votes) {
        let then = before.before.iter().find(|region| region.name == now.name);
        let Some(then) = then else { continue };
        if now.phase == Phase::Withdrawn && then.phase != Phase::Withdrawn {
            prop_assert!(votes.down >= votes.needed, "{} was withdrawn by {votes:?}", now.name);
        }
        if now.given_percent > then.given_percent && now.reason != Reason::LastResort {
            prop_assert!(votes.clean >= votes.needed, "{} was given more by {votes:?}", now.name);
        }
    }
    let is_same = |a: &World, b: &World| a.seen == b.seen && !b.published.is_empty();
    let is_rescue = decision.choices.iter().any(|choice| choice.reason == "LastResort");
    if matches!(decision.frozen, Some(Freeze::QuorumLost { .. } | Freeze::TooFewHealthy { .. }))
        && is_same(world, before)
        && !is_rescue
        && before.published.addresses().all(|address| {
            let takers = world.seen.iter().flat_map(|seen| seen.takers());
            takers.flat_map(|node| node.addresses.clone()).any(|known| known == address)
        })
    {
        prop_assert_eq!(&decision.answer, &before.published, "frozen");
    }
    Ok(())
}

fn copy(world: &World) -> World {
    let mut other = World::of(1, world.policy.clone());
    other.seen.clone_from(&world.seen);
    other.before.clone_from(&world.before);
    other.published.clone_from(&world.published);
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_losses_and_returns_empties_the_answer_or_breaks_a_bound(
        regions in 2_u8..5, events in vec(event(), 1..25),
    ) {
        let mut world = World::settled(regions, quick());
        for (event, seconds) in events {
            happen(&mut world, &event);
            for _ in 0..seconds {
                let before = copy(&world);
                let decision = world.look();
                hold_between(&world, &before, &decision)?;
            }
        }
    }

    #[test]
    fn one_prober_alone_never_flips(events in vec(lone_event(), 1..25)) {
        let mut world = World::settled(2, quick());
        let before = world.published.clone();
        for (event, seconds) in events {
            happen(&mut world, &event);
            for _ in 0..seconds {
                let decision = world.look();
                prop_assert!(decision.flip.is_none(), "{:?}", decision.flip);
                prop_assert_eq!(&decision.answer, &before);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_answer_in_any_order(events in vec(event(), 0..12), regions in 2_u8..5) {
        let mut world = World::settled(regions, quick());
        for (event, seconds) in &events {
            happen(&mut world, event);
            world.run(*seconds);
        }
        let (first, before) = (world.decide(), world.before.clone());
        world.seen.reverse();
        let second = world.decide();
        prop_assert_eq!(&first.answer, &second.answer);
        prop_assert_eq!(&before, &second.regions);
        prop_assert!(second.flip.is_none());
    }

    #[test]
    fn an_override_is_respected_whatever_happens(events in vec(event(), 1..20)) {
        let mut world = World::settled(3, quick());
        let expires_at = world.now + jiff::SignedDuration::from_hours(1);
        world.policy.pinned = Some(Pinned { regions: vec!["b".into()], reason: "a test".into(), expires_at });
        for (event, seconds) in events {
            happen(&mut world, &event);
            let decision = world.run(seconds);
            let has_relays = !world.seen[1].takers().is_empty();
            prop_assert!(!has_relays || decision.active == ["b"], "{:?}", decision.active);
            prop_assert!(!decision.answer.is_empty());
        }
    }
}
