//! Regions that die and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    command::kubectl, cut::Cut, dns::new_caller, faults::Paused, monotonic::Moment, percentiles::Percentiles,
    scenario::HOST, tell, wait,
};
use kube::api::{Patch, PatchParams};
use rtcfleet_crds::{ConditionsExt, DnsFailover, TurnRegion, condition, dns_failover::RegionState};
use serde_json::json;

use crate::{
    name::{self, FLIPS_WITHIN, NAME, Name, REGIONS},
    steady::leader_killed,
};

/// So many times a region is cut off, unless the variable says otherwise: what is printed in docs/performance.md is of 20.
const TRIALS: usize = 8;
const TRIALS_VARIABLE: &str = "DNS_TRIALS";
/// A region that comes back has to be seen without a failure for a window of ten intervals.
const BACK_WITHIN: Duration = Duration::from_mins(1);

/// What one cut took.
struct Trial {
    /// Until the status said so.
    decided: Duration,
    /// Until every authoritative server answered without it.
    told: Duration,
}

async fn cut_off(name: &Name<'_>) -> Result<Trial> {
    let region = name.without_the_leader().await?;
    let other = Name::other(region);
    let names = name.names();
    let withdrawn = tokio::spawn(async move {
        let what = "one region alone is active";
        let is_alone = |name: &DnsFailover| name.status.as_ref().is_some_and(|status| status.active_regions.len() == 1);
        wait::object(&names, NAME, what, FLIPS_WITHIN, is_alone).await?;
        Moment::now()
    });
    let at = Moment::now()?;
    let cut = Cut::region(region).await?;
    let told = name.tells_only(at, &[other], FLIPS_WITHIN).await?;
    let decided = withdrawn.await??.since(at);
    let caller = new_caller(&name.servers.both(), HOST).await?;
    ensure!(name.relays[other].contains(&caller.served_by), "a new caller reached {}", caller.served_by);
    caller.allocation.end().await?;
    cut.comes_back().await?;
    name.is_back(BACK_WITHIN).await?;
    Ok(Trial { decided, told })
}

async fn trials(topic: &str, interval: &str, aim: Duration) -> Result<()> {
    let spec = json!({
        "health": {"interval": interval},
        "safety": {"holdDown": "1s", "maxHoldDown": "1s"},
        "failback": {"steps": [100]},
    });
    name::with(topic, spec, async |name| {
        let number = std::env::var(TRIALS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(TRIALS);
        let mut all = Vec::new();
        for number in 1..=number {
            all.push(cut_off(name).await.with_context(|| format!("trial {number}"))?);
        }
        let of = |part: fn(&Trial) -> Duration| Percentiles::of(all.iter().map(part)).context("a trial");
        let (decided, told) = (of(|trial| trial.decided)?, of(|trial| trial.told)?);
        tell(&format!("a region cut off, interval {interval}: to the decision: {decided}"))?;
        tell(&format!("to an answer without it from every server: {told} (aim: p99 {aim:?})"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_cut_off_leaves_the_answer_and_new_callers_reach_the_other() -> Result<()> {
    trials("dns-cuts", "1s", Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_four_probes_a_second_it_leaves_sooner() -> Result<()> {
    trials("dns-fast", "250ms", Duration::from_secs(2)).await
}

/// Another replica has to take over first, and to hear probers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_cut_off_with_the_leader_in_it_leaves_the_answer() -> Result<()> {
    let spec = json!({"safety": {"holdDown": "1s", "maxHoldDown": "1s"}, "failback": {"steps": [100]}});
    name::with("dns-leader", spec, async |name| {
        let region = name.with_the_leader().await?;
        name.is_healthy(BACK_WITHIN).await?;
        let at = Moment::now()?;
        let cut = Cut::region(region).await?;
        let took = name.tells_only(at, &[Name::other(region)], Duration::from_mins(1)).await?;
        tell(&format!("a region cut off with the leader in it: every server answers without it after {took:?}"))?;
        cut.comes_back().await?;
        name.is_back(Duration::from_mins(2)).await
    })
    .await
}

/// Its relays run on, so callers go on finding it, and leave it when it dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_with_a_mistake_in_its_object_is_followed_by_a_leader_that_never_saw_it_without() -> Result<()> {
    let spec = json!({"safety": {"holdDown": "1s", "maxHoldDown": "1s"}, "failback": {"steps": [100]}});
    name::with("dns-mistake", spec, async |name| {
        let began = Moment::now()?;
        let mistake = json!({"spec": {"replicas": null, "scaling": {"min": 2, "max": 2, "schedule": [
            {"cron": "0 8 * * *", "timeZone": "Nowhere/Nowhere", "min": 2}
        ]}}});
        for region in REGIONS {
            name.scenario.regions().patch(region, &PatchParams::default(), &Patch::Merge(&mistake)).await?;
            wait::object(&name.scenario.regions(), region, "Stalled", FLIPS_WITHIN, |region: &TurnRegion| {
                wait::conditions(region).is_true(condition::STALLED)
            })
            .await?;
        }
        leader_killed(name).await?;
        name.is_healthy(BACK_WITHIN).await?;
        name.never_left_out(began)?;
        let region = name.without_the_leader().await?;
        let at = Moment::now()?;
        let cut = Cut::region(region).await?;
        let took = name.tells_only(at, &[Name::other(region)], FLIPS_WITHIN).await?;
        tell(&format!(
            "a region with a mistake in its object, cut off: every server answers without it after {took:?}"
        ))?;
        cut.comes_back().await?;
        name.is_back(BACK_WITHIN).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_comes_back_by_steps_and_one_that_flaps_is_held_down_twice_as_long_each_time() -> Result<()> {
    let spec = json!({
        "safety": {"holdDown": "10s", "maxHoldDown": "1h"},
        "failback": {"stepDuration": "10s"},
    });
    name::with("dns-failback", spec, async |name| {
        let region = name.without_the_leader().await?;
        let mut held = Vec::new();
        for flap in 1..=3 {
            let at = Moment::now()?;
            let cut = Cut::region(region).await?;
            name.tells_only(at, &[Name::other(region)], FLIPS_WITHIN).await?;
            held.push(hold_down(name, region, flap).await?);
            cut.comes_back().await?;
            if flap < 3 {
                let_in(name, region).await?;
            }
        }
        tell(&format!("held down for {held:?}"))?;
        ensure!(held.windows(2).all(|pair| pair[1] >= pair[0] * 19 / 10), "not doubled: {held:?}");
        let steps = steps_of(name, region).await?;
        ensure!(steps == [5, 25, 50, 100], "its callers came back by {steps:?} %");
        Ok(())
    })
    .await
}

/// From the failure until it may come back.
async fn hold_down(name: &Name<'_>, region: &str, flaps: i32) -> Result<Duration> {
    wait::until("the status says how long it stays out", FLIPS_WITHIN, async || {
        let one = name.region(region).await?;
        ensure!(one.state == RegionState::Withdrawn && one.flaps >= flaps, "{one:?}");
        let (since, until) = (one.since.parse::<jiff::Timestamp>()?, one.hold_down_until.context("no hold-down")?);
        Ok(until.parse::<jiff::Timestamp>()?.duration_since(since).try_into()?)
    })
    .await
}

/// Until it has callers again, in answers, too: before, it cannot fail again.
async fn let_in(name: &Name<'_>, region: &str) -> Result<()> {
    wait::until("the region gets callers again", BACK_WITHIN, async || {
        let one = name.region(region).await?;
        ensure!(one.state != RegionState::Withdrawn, "{one:?}");
        Ok(())
    })
    .await?;
    name.tells_all(Moment::now()?, BACK_WITHIN).await
}

/// Percents of its share that it was given, in order, until it has all of it.
async fn steps_of(name: &Name<'_>, region: &str) -> Result<Vec<i32>> {
    let began = Instant::now();
    let mut steps = Vec::new();
    while steps.last() != Some(&100) {
        ensure!(began.elapsed() < Duration::from_mins(4), "only {steps:?} %");
        let one = name.region(region).await?;
        let given = if one.state == RegionState::Withdrawn { 0 } else { one.given_percent };
        if given > 0 && steps.last() != Some(&given) {
            steps.push(given);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(steps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_both_regions_die_the_answer_stays_and_it_is_said() -> Result<()> {
    name::with("dns-both", json!({}), async |name| {
        let at = Moment::now()?;
        let mut relays = Vec::new();
        for region in REGIONS {
            relays.extend(name.scenario.relays(region).await?.into_iter().map(|relay| relay.pod));
        }
        let silent = Paused::pods(&name.pods(), &relays).await?;
        let what = "frozen because too few regions are healthy, and degraded";
        wait::object(&name.names(), NAME, what, FLIPS_WITHIN, |name: &DnsFailover| {
            name.status.as_ref().is_some_and(|status| {
                let frozen = status.conditions.condition(condition::FROZEN);
                frozen.is_some_and(|frozen| frozen.reason == "TooFewHealthy")
                    && status.conditions.is_true(condition::DEGRADED)
            })
        })
        .await?;
        wait::until("an Event says so", FLIPS_WITHIN, async || {
            let events = kubectl(&["-n", &name.scenario.namespace, "get", "events"], "").await?.stdout;
            ensure!(events.contains("TooFewHealthy"), "{events}");
            Ok(())
        })
        .await?;
        silent.go_on();
        name.is_healthy(Duration::from_mins(2)).await?;
        name.never_left_out(at)
    })
    .await
}
