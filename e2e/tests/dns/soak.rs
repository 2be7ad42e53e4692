//! Half an hour of faults that are none of a region, drawn by chance, two at a time.

use std::{env, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{cut::Cut, monotonic::Moment, operator, tell};
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::DeleteParams};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;

use crate::{
    name::{self, FLIPS_WITHIN, Name},
    steady::{self, HEALTHY_WITHIN},
};

const MINUTES: u64 = 30;
const MINUTES_VARIABLE: &str = "DNS_SOAK_MINUTES";
const SEED_VARIABLE: &str = "DNS_SOAK_SEED";
/// One round in so many is without a DNS server instead.
const ROUNDS_WITHOUT_A_SERVER: u32 = 6;
/// While a DNS server is away.
const AWAY: Duration = Duration::from_secs(20);

/// Faults that would be in each other's way, because they are of the same thing, are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Probers,
    Leader,
    Clock,
    Network,
    Relays,
    ApiServer,
}

struct Fault {
    what: &'static str,
    kind: Kind,
    happens: for<'a> fn(&'a Name<'a>) -> LocalBoxFuture<'a, Result<()>>,
}

const FAULTS: [Fault; 10] = [
    Fault { what: "a prober is killed", kind: Kind::Probers, happens: |name| Box::pin(prober_killed(name)) },
    Fault {
        what: "a prober stands still",
        kind: Kind::Probers,
        happens: |name| Box::pin(steady::one_prober_stands_still(name)),
    },
    Fault {
        what: "a prober is cut off",
        kind: Kind::Probers,
        happens: |name| Box::pin(steady::one_prober_cut_off(name)),
    },
    Fault {
        what: "all probers are cut off",
        kind: Kind::Probers,
        happens: |name| Box::pin(steady::all_probers_cut_off(name)),
    },
    Fault { what: "the leader is killed", kind: Kind::Leader, happens: |name| Box::pin(leader_killed(name)) },
    Fault {
        what: "a prober's clock steps",
        kind: Kind::Clock,
        happens: |name| Box::pin(steady::one_clock_steps_unwatched(name)),
    },
    Fault { what: "5 % of all packets are lost", kind: Kind::Network, happens: |_| Box::pin(steady::lossy()) },
    Fault { what: "a machine is drained", kind: Kind::Relays, happens: |name| Box::pin(steady::drained(name)) },
    Fault { what: "an upgrade rolls", kind: Kind::Relays, happens: |name| Box::pin(steady::upgraded(name)) },
    Fault {
        what: "the API server is down for a minute",
        kind: Kind::ApiServer,
        happens: |name| Box::pin(steady::api_server_down(name)),
    },
];

/// Two of different kinds. What needs the API server is not told to fail with it.
fn drawn(random: &mut StdRng) -> [&'static Fault; 2] {
    loop {
        let two = [(); 2].map(|()| FAULTS.choose(random).expect("there are some"));
        let kinds = two.map(|fault| fault.kind);
        let without_api = kinds.contains(&Kind::ApiServer);
        if kinds[0] != kinds[1] && (!without_api || kinds.contains(&Kind::Network)) {
            return two;
        }
    }
}

/// A kubelet waits longer each time before it starts a process again: one that was killed makes way for a new pod.
async fn prober_killed(name: &Name<'_>) -> Result<()> {
    let pod = name.prober(steady::BESIDE).await?.name_any();
    steady::one_prober_killed(name).await?;
    name.pods().delete(&pod, &DeleteParams::default()).await?;
    Ok(())
}

async fn leader_killed(name: &Name<'_>) -> Result<()> {
    let client = &name.scenario.client;
    let pod = operator::leader(client).await?.name_any();
    steady::leader_killed(name).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), operator::NAMESPACE);
    pods.delete(&pod, &DeleteParams::default()).await?;
    operator::settled(client).await
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable}={text} is no number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour: make soak-dns"]
async fn mixed_faults_send_no_caller_away() -> Result<()> {
    let minutes = number(MINUTES_VARIABLE)?.unwrap_or(MINUTES);
    let seed = number(SEED_VARIABLE)?.unwrap_or_else(rand::random);
    tell(&format!("{minutes} minutes of mixed faults, {SEED_VARIABLE}={seed}"))?;
    let spec = json!({"safety": {"holdDown": "1s", "maxHoldDown": "1s"}, "failback": {"steps": [100]}});
    name::with("dns-soak", spec, async |name| {
        let mut random = StdRng::seed_from_u64(seed);
        let began = Moment::now()?;
        let before = name.status().await?.last_flip;
        let mut rounds = 0;
        while Moment::now()?.since(began) < Duration::from_mins(minutes) {
            rounds += 1;
            Box::pin(round(name, &mut random, rounds)).await.with_context(|| format!("round {rounds}, seed {seed}"))?;
        }
        let after = name.status().await?.last_flip;
        ensure!(before == after, "there was a flip: {after:?}");
        tell(&format!("{rounds} rounds in {:?}: no flip", Moment::now()?.since(began)))?;
        a_region_that_dies_still_leaves(name).await
    })
    .await
}

async fn round(name: &mut Name<'_>, random: &mut StdRng, number: u32) -> Result<()> {
    let at = Moment::now()?;
    if random.random_ratio(1, ROUNDS_WITHOUT_A_SERVER) {
        tell(&format!("round {number}: the secondary DNS server is away"))?;
        name.servers.stop_secondary().await?;
        tokio::time::sleep(AWAY).await;
        name.servers.start_again().await?;
    } else {
        let [one, other] = drawn(random);
        tell(&format!("round {number}: {}, and {}", one.what, other.what))?;
        let (first, second) = futures::join!((one.happens)(name), (other.happens)(name));
        first.context(one.what)?;
        second.context(other.what)?;
    }
    name.is_healthy(HEALTHY_WITHIN).await?;
    name.never_left_out(at)
}

/// The silence was not that of something that has stopped.
async fn a_region_that_dies_still_leaves(name: &Name<'_>) -> Result<()> {
    let region = name.without_the_leader().await?;
    let at = Moment::now()?;
    let cut = Cut::region(region).await?;
    let took = name.tells_only(at, &[Name::other(region)], FLIPS_WITHIN).await?;
    tell(&format!("then a region is cut off, and is out of every answer after {took:?}"))?;
    cut.comes_back().await
}
