use proptest::prelude::*;

use super::*;
use crate::publish::Addresses;

fn id() -> Arc<ProfileId> {
    Arc::new(ProfileId { subscription: "s".into(), resource_group: "g".into(), profile: "p".into() })
}

fn share(region: &str, percent: u32) -> Share {
    let relay = (percent > 0).then(|| [192, 0, 2, 1].into());
    Share { region: region.into(), percent, addresses: Addresses::new(30, relay) }
}

fn endpoint(name: &str, is_enabled: bool, weight: u32, priority: u32) -> Endpoint {
    Endpoint {
        kind: EndpointKind::External,
        name: name.into(),
        is_enabled,
        monitor: None,
        weight: Some(weight),
        priority: Some(priority),
    }
}

fn profile(routing: Routing, endpoints: &[(&str, bool, u32, u32)]) -> Profile {
    let endpoint = |&(name, is_enabled, weight, priority): &_| endpoint(name, is_enabled, weight, priority);
    Profile { is_enabled: true, routing, endpoints: endpoints.iter().map(endpoint).collect() }
}

/// What the API would make of it.
fn apply(profile: &mut Profile, patch: &Patch) {
    let is_meant = |one: &&mut Endpoint| one.kind == patch.kind && one.name == patch.endpoint;
    let endpoint = profile.endpoints.iter_mut().find(is_meant).expect("an endpoint");
    let Properties { endpoint_status, weight, priority } = &patch.properties;
    if let Some(status) = endpoint_status {
        endpoint.is_enabled = *status == EndpointStatus::Enabled;
    }
    endpoint.weight = weight.or(endpoint.weight);
    endpoint.priority = priority.or(endpoint.priority);
}

fn changed(profile: &Profile, shares: &[Share]) -> Vec<String> {
    let told = |patch: &Patch| {
        let Properties { endpoint_status, weight, priority } = &patch.properties;
        let status = endpoint_status.map(|status| format!(" {status:?}")).unwrap_or_default();
        let weight = weight.map(|weight| format!(" weight {weight}")).unwrap_or_default();
        let priority = priority.map(|priority| format!(" priority {priority}")).unwrap_or_default();
        format!("{}{status}{weight}{priority}", patch.endpoint)
    };
    change(&id(), profile, shares).unwrap().patches.iter().map(told).collect()
}

#[test]
fn parts_are_weights_and_regions_come_before_others_go() {
    let live = profile(
        Routing::Weighted,
        &[("a", true, 100, 1), ("b", false, 7, 2), ("c", true, 9, 3), ("other", true, 1, 4)],
    );
    let wanted = [share("a", 0), share("b", 95), share("c", 5)];
    assert_eq!(changed(&live, &wanted), ["b Enabled weight 95", "c weight 5", "a Disabled"]);
}

#[test]
fn names_of_endpoints_are_compared_without_case() {
    let live = profile(Routing::Weighted, &[("CentralIndia", true, 1, 1)]);
    assert_eq!(changed(&live, &[share("centralindia", 100)]), ["CentralIndia weight 100"]);
}

#[test]
fn with_priorities_the_larger_part_comes_first_and_numbers_are_kept() {
    let live = profile(Routing::Priority, &[("a", true, 1, 2), ("other", true, 1, 3), ("b", true, 1, 5)]);
    assert_eq!(changed(&live, &[share("a", 60), share("b", 40)]), [""; 0]);
    assert_eq!(changed(&live, &[share("a", 50), share("b", 50)]), [""; 0], "equal parts stay in their order");
    // The circle is opened behind the place of the last one.
    assert_eq!(changed(&live, &[share("a", 40), share("b", 60)]), ["a priority 6", "b priority 2", "a priority 5"]);
}

#[test]
fn a_region_that_comes_back_is_not_first_for_a_moment() {
    let live = profile(Routing::Priority, &[("a", false, 1, 1), ("b", true, 1, 2)]);
    let wanted = [share("a", 5), share("b", 95)];
    assert_eq!(changed(&live, &wanted), ["a priority 3", "b priority 1", "a priority 2", "a Enabled"]);
    let nobody = profile(Routing::Priority, &[("a", false, 1, 1), ("b", false, 1, 2)]);
    assert_eq!(changed(&nobody, &wanted)[..2], ["a Enabled", "b Enabled"], "callers have no answer");
}

#[test]
fn without_an_endpoint_of_a_region_with_callers_nothing_is_disabled() {
    let live = profile(Routing::Weighted, &[("a", true, 1, 1)]);
    let found = change(&id(), &live, &[share("a", 0), share("b", 100)]).unwrap();
    assert_eq!(found, Change { patches: vec![], missing: vec!["b".into()] });
    let two = [share("a", 0), share("b", 50), share("c", 50)];
    let live = profile(Routing::Weighted, &[("a", true, 1, 1), ("b", true, 50, 2)]);
    assert_eq!(changed(&live, &two), ["a Disabled"], "the rest is done");
}

#[test]
fn a_region_without_a_relay_gets_no_callers() {
    let live = profile(Routing::Weighted, &[("a", true, 50, 1), ("b", true, 50, 2)]);
    let empty = Share { addresses: Addresses::default(), ..share("b", 50) };
    assert_eq!(changed(&live, &[share("a", 50), empty]), ["b Disabled"]);
}

#[test]
fn a_profile_that_cannot_weigh_regions_says_what_to_set() {
    let live = profile(Routing::Other("Geographic".into()), &[]);
    let error = change(&id(), &live, &[]).unwrap_err().to_string();
    assert!(error.contains("routes by Geographic") && error.contains("set its routing method to Weighted"), "{error}");
    let disabled = Profile { is_enabled: false, ..profile(Routing::Weighted, &[]) };
    assert!(change(&id(), &disabled, &[]).unwrap_err().to_string().contains("enable it"));
}

#[test]
fn what_disables_an_endpoint_is_done_alone_after_a_look() {
    let live = profile(Routing::Weighted, &[("a", true, 1, 1), ("b", false, 1, 2), ("c", true, 1, 3)]);
    let wanted = [share("a", 0), share("b", 100), share("c", 0)];
    let patches = change(&id(), &live, &wanted).unwrap().patches;
    assert_eq!([at_once(&patches).len(), at_once(&patches[1..]).len(), patches.len()], [1, 1, 3]);
}

const REGIONS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Endpoints of regions and of others, each with a priority of its own: close together, and at the end of the numbers.
fn profiles() -> impl Strategy<Value = Profile> {
    let names = Just(["A", "b", "c", "d", "other", "another"].to_vec()).prop_shuffle();
    let numbers = prop_oneof![Just((1..=8).collect::<Vec<u32>>()), Just((992..=1000).collect())].prop_shuffle();
    let states = proptest::collection::vec((any::<bool>(), 1..=1000_u32), 6);
    let routing = prop_oneof![Just(Routing::Weighted), Just(Routing::Priority)];
    (names, numbers, states, 0..=6_usize, routing).prop_map(|(names, numbers, states, count, routing)| {
        let endpoints = names.iter().zip(numbers).zip(states).take(count);
        let endpoints = endpoints.map(|((name, priority), (on, weight))| endpoint(name, on, weight, priority));
        Profile { is_enabled: true, routing, endpoints: endpoints.collect() }
    })
}

fn wishes() -> impl Strategy<Value = Vec<Share>> {
    proptest::collection::vec(prop_oneof![Just(0), 1..=100_u32], REGIONS.len())
        .prop_map(|parts| REGIONS.iter().zip(parts).map(|(region, percent)| share(region, percent)).collect())
}

fn answers(profile: &Profile) -> bool {
    profile.endpoints.iter().any(|endpoint| endpoint.is_enabled)
}

fn serves(profile: &Profile, shares: &[Share]) -> bool {
    named(profile, shares).iter().any(|one| one.percent > 0 && one.endpoint.is_enabled)
}

fn is_unique(profile: &Profile) -> bool {
    let mut numbers: Vec<_> = profile.endpoints.iter().map(|endpoint| endpoint.priority).collect();
    numbers.sort_unstable();
    numbers.windows(2).all(|two| two[0] != two[1]) && numbers.iter().flatten().all(|n| (1..=HIGHEST).contains(n))
}

proptest! {
    #[test]
    fn after_every_step_callers_have_an_answer_and_priorities_differ(live in profiles(), wanted in wishes()) {
        let mut now = live.clone();
        let mut served = serves(&now, &wanted);
        for patch in change(&id(), &live, &wanted).unwrap().patches {
            let before = answers(&now);
            apply(&mut now, &patch);
            prop_assert!(answers(&now) || !before, "{patch:?} leaves no answer");
            prop_assert!(serves(&now, &wanted) || !served, "{patch:?} leaves no region with callers");
            prop_assert!(is_unique(&now), "{patch:?}: {:?}", now.endpoints);
            served |= serves(&now, &wanted);
        }
    }

    #[test]
    fn what_is_done_is_what_is_wanted_and_is_not_done_again(live in profiles(), wanted in wishes()) {
        let mut now = live.clone();
        let Change { patches, missing } = change(&id(), &live, &wanted).unwrap();
        for patch in &patches {
            apply(&mut now, patch);
        }
        prop_assert_eq!(change(&id(), &now, &wanted).unwrap(), Change { patches: vec![], missing });
        let mut named = named(&now, &wanted);
        let any = named.iter().any(|one| one.percent > 0);
        prop_assert!(!any || named.iter().all(|one| one.endpoint.is_enabled == (one.percent > 0)));
        let with_callers = |one: &&Named| one.percent > 0;
        if now.routing == Routing::Weighted {
            prop_assert!(named.iter().filter(with_callers).all(|one| one.endpoint.weight == Some(one.percent)));
        } else {
            named.sort_by_key(|one| one.endpoint.priority);
            let parts: Vec<u32> = named.iter().filter(with_callers).map(|one| one.percent).collect();
            prop_assert!(parts.is_sorted_by(|first, second| first >= second), "{parts:?}");
        }
    }

    #[test]
    fn endpoints_that_no_region_names_are_never_touched(live in profiles(), wanted in wishes()) {
        for patch in change(&id(), &live, &wanted).unwrap().patches {
            prop_assert!(!patch.endpoint.contains("other"), "{patch:?}");
        }
    }

    /// Each of two leaders looks, and does what it does after one look; which of them is next is anybody's guess.
    #[test]
    fn two_leaders_leave_callers_an_answer_and_the_last_one_has_its_way(
        live in profiles(),
        wishes in [wishes(), wishes()],
        turns in proptest::collection::vec(0..2_usize, 0..30),
    ) {
        let mut now = live;
        let mut turns = turns.into_iter();
        for step in 0..100 {
            let next = turns.next();
            let turn = next.unwrap_or(1);
            let Change { patches, missing: _ } = change(&id(), &now, &wishes[turn]).unwrap();
            if patches.is_empty() && next.is_none() {
                break;
            }
            for patch in at_once(&patches) {
                let before = answers(&now);
                apply(&mut now, patch);
                prop_assert!(answers(&now) || !before);
                prop_assert!(is_unique(&now));
            }
            prop_assert!(step < 50, "it comes to an end");
        }
        prop_assert_eq!(change(&id(), &now, &wishes[1]).unwrap().patches, []);
    }
}
