//! What the operator takes: memory, processor time, requests, and time to begin again.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{operator, processes, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};

use crate::fleet::{Size, progress};
use crate::relays::Asked;

const METRICS_PORT: u16 = 8080;
/// A fleet is steady when the operator has written nothing for this long: more than two looks at every region.
const QUIET: Duration = Duration::from_secs(35);
/// `USER_HZ`, in which Linux counts processor time for programs.
const TICKS_A_SECOND: f64 = 100.0;

/// The leader's process and its counters, at one moment.
#[derive(Clone, Debug)]
pub struct Usage {
    at: Instant,
    process: u32,
    cpu_seconds: f64,
    /// Resident, now and at the most, MiB.
    pub resident: f64,
    pub peak: f64,
    /// Since it started, by verb.
    requests: BTreeMap<String, u64>,
    reconciles: u64,
}

/// What happened between two moments.
#[derive(Clone, Debug)]
pub struct Spent {
    pub span: Duration,
    pub cpu_seconds: f64,
    pub resident: f64,
    pub peak: f64,
    pub requests: BTreeMap<String, u64>,
    pub reconciles: u64,
}

impl Usage {
    /// An error where another process leads by now: the one before was ended, or let go of its Lease.
    pub fn since(&self, before: &Self) -> Result<Spent> {
        ensure!(
            self.process == before.process,
            "the leader ended meanwhile, at {:.0} MiB or more: kubectl -n {} get pods says why",
            before.peak,
            operator::NAMESPACE
        );
        let requests = self.requests.iter().filter_map(|(verb, count)| {
            let more = count - before.requests.get(verb).copied().unwrap_or(0);
            (more > 0).then(|| (verb.clone(), more))
        });
        Ok(Spent {
            span: self.at - before.at,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            resident: self.resident,
            peak: self.peak,
            requests: requests.collect(),
            reconciles: self.reconciles - before.reconciles,
        })
    }
}

impl Spent {
    /// Requests that change something. The Lease is renewed by updates.
    pub fn writes(&self) -> u64 {
        let writing = ["apply", "create", "delete", "patch"];
        writing.iter().filter_map(|verb| self.requests.get(*verb)).sum()
    }
}

pub async fn usage(client: &Client) -> Result<Usage> {
    of(client, &operator::leader(client).await?).await
}

async fn of(client: &Client, leader: &Pod) -> Result<Usage> {
    let found = processes::of_pod(&leader.uid().context("a pod without a uid")?);
    let process = found.first().context("the leader has no process on this machine")?.id;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let metrics = operator::metrics(client, operator::NAMESPACE, leader, METRICS_PORT).await?;
    Ok(Usage {
        at: Instant::now(),
        process,
        cpu_seconds: cpu_seconds(&stat).context("no processor time in /proc")?,
        resident: mebibytes(&status, "VmRSS").context("no memory in /proc")?,
        peak: mebibytes(&status, "VmHWM").context("no memory in /proc")?,
        requests: by_verb(&metrics),
        reconciles: sum(&metrics, "rtcfleet_operator_reconcile_total"),
    })
}

/// Fields 14 and 15 of /proc/PID/stat; the second is a name that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_A_SECOND)
}

fn mebibytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024.0)
}

fn by_verb(metrics: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("rtcfleet_operator_api_requests_total{")) {
        let verb = line.split_once("verb=\"").and_then(|(_, rest)| rest.split_once('"'));
        let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
        if let (Some((verb, _)), Some(count)) = (verb, count) {
            *found.entry(verb.to_owned()).or_default() += count;
        }
    }
    found
}

fn sum(metrics: &str, name: &str) -> u64 {
    let of_name = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Waits until the leader has written nothing for [`QUIET`].
pub async fn quiet(client: &Client, limit: Duration) -> Result<()> {
    let mut last = usage(client).await?;
    wait::until("the operator writes nothing", limit, async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = usage(client).await?;
        let spent = now.since(&last);
        if spent.as_ref().map_or(true, |spent| spent.writes() > 0) {
            last = now; // From here on, also where another process leads.
        }
        let spent = spent?;
        ensure!(spent.writes() == 0 && spent.span >= QUIET, "{} writes in {:?}", spent.writes(), spent.span);
        Ok(())
    })
    .await
}

/// What a steady fleet takes.
#[derive(Clone, Debug)]
pub struct Steady {
    pub spent: Spent,
    pub connections: u64,
    pub looks: u64,
}

pub async fn watch(client: &Client, relays: &Asked, span: Duration) -> Result<Steady> {
    let counted = || (relays.connections.load(Ordering::Relaxed), relays.looks.load(Ordering::Relaxed));
    let (before, asked) = (usage(client).await?, counted());
    tokio::time::sleep(span).await; // The measurement itself.
    let now = counted();
    Ok(Steady { spent: usage(client).await?.since(&before)?, connections: now.0 - asked.0, looks: now.1 - asked.1 })
}

/// From the end of one leader to a fleet that is as steady under the next.
#[derive(Clone, Debug)]
pub struct Restart {
    /// Until another process held the Lease.
    pub leads: Duration,
    /// Until it had looked at every region, without one that was not Ready.
    pub steady: Duration,
    pub spent: Spent,
}

pub async fn restart(client: &Client, size: Size, limit: Duration) -> Result<Restart> {
    let leader = operator::leader(client).await?;
    let holder = operator::holder(client).await?;
    let began = Instant::now();
    // As a machine that stops: nothing is released.
    processes::kill(&leader.uid().context("a pod without a uid")?).await?;
    Api::<Pod>::namespaced(client.clone(), operator::NAMESPACE)
        .delete(&leader.name_any(), &DeleteParams::default().grace_period(0))
        .await?;
    operator::another_leads(client, &holder, limit).await?;
    let leads = began.elapsed();
    let next = operator::leader(client).await?;
    let first = of(client, &next).await?;
    let seen = wait::until("the next leader has looked at every region", limit, async || {
        let now = of(client, &next).await?;
        ensure!(now.reconciles >= u64::from(size.regions), "{} looks", now.reconciles);
        Ok(now)
    })
    .await?;
    let steady = began.elapsed();
    let (ready, serving) = progress(client, size).await?;
    ensure!(ready == size.regions as usize, "{ready} TurnRegions are Ready, {serving} relays serve");
    Ok(Restart { leads, steady, spent: seen.since(&first)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 3 0 100 1 1";
        assert!((cpu_seconds(stat).unwrap() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn requests_are_added_up_by_verb() {
        let metrics = "rtcfleet_operator_api_requests_total{verb=\"get\",code=\"2xx\"} 4\n\
                       rtcfleet_operator_api_requests_total{verb=\"get\",code=\"4xx\"} 1\n\
                       rtcfleet_operator_api_requests_total{verb=\"apply\",code=\"2xx\"} 2\n\
                       other{verb=\"get\"} 9\n";
        assert_eq!(by_verb(metrics), [("apply".to_owned(), 2), ("get".to_owned(), 5)].into());
    }
}
