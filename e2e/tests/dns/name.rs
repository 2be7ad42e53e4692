//! A name for two regions, with everything around it: relays, name servers, probers, and somebody who asks all the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    certificates::Authority,
    dns::{self, DnsServers, History, Watcher},
    monotonic::Moment,
    operator, processes,
    scenario::{self, HOST, PORT, Scenario, machine_addresses},
    wait,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use rtcfleet_crds::{
    ConditionsExt, DnsFailover, DnsFailoverStatus, condition,
    dns_failover::{RegionHealth, RegionState, RegionStatus, VantagePointState},
    labels,
};
use serde_json::{Value, json};

pub const REGIONS: [&str; 2] = ["centralindia", "southindia"];
/// Name of the object.
pub const NAME: &str = "india";
const TLS_PORT: u16 = 5349;
const DNS_SECRET: &str = "dns-key";
/// Replicas of the operator that are made to lead until one stands in a region.
const LEADERS: usize = 4;
/// Probers start, and six probes succeed.
const JUDGED_WITHIN: Duration = Duration::from_secs(90);
/// Longer than any flip should take on a busy machine; what it takes is printed.
pub const FLIPS_WITHIN: Duration = Duration::from_secs(30);

/// A name that is published and judged healthy.
pub struct Name<'a> {
    pub scenario: &'a Scenario,
    pub servers: &'a mut DnsServers,
    pub authority: Authority,
    pub watcher: Watcher,
    /// Addresses of each region's relays, IPv4.
    pub relays: BTreeMap<&'static str, BTreeSet<IpAddr>>,
}

/// Runs `body` beside a name with `more` (JSON) in its spec, and sees to it that no server ever had an empty answer for it.
pub async fn with(topic: &str, more: Value, body: impl AsyncFnOnce(&mut Name<'_>) -> Result<()>) -> Result<()> {
    let (history, servers) = until_the_end(topic, more, body).await?;
    history.is_never_empty(&servers).context("a caller was told that there is nobody")
}

/// The same for a name that may end: everything that its servers told, and who they were.
pub async fn until_the_end(
    topic: &str,
    more: Value,
    body: impl AsyncFnOnce(&mut Name<'_>) -> Result<()>,
) -> Result<(History, [SocketAddr; 2])> {
    let mut told = None;
    scenario::with(topic, async |scenario| {
        dns::with(async |servers| {
            let mut name = Name::made(&scenario, servers, more).await?;
            let outcome = body(&mut name).await;
            let both = name.servers.both();
            if outcome.is_err() {
                eprintln!("{}\n{}", name.told().await, name.watcher.history());
            }
            let history = name.watcher.end().await;
            outcome?;
            told = Some((history?, both));
            Ok(())
        })
        .await
    })
    .await?;
    told.context("the scenario has not run")
}

impl<'a> Name<'a> {
    /// Published as `more` says, judged healthy, and asked for all the time.
    pub async fn made(scenario: &'a Scenario, servers: &'a mut DnsServers, more: Value) -> Result<Self> {
        let mut relays = BTreeMap::new();
        let mut all = Vec::new();
        for region in REGIONS {
            let addresses = machine_addresses(&scenario.client, region).await?;
            all.extend(addresses.iter().map(ToString::to_string));
            relays.insert(region, addresses.into_iter().filter(IpAddr::is_ipv4).collect());
        }
        let authority = Authority::new()?;
        scenario.create_secret().await?;
        for region in REGIONS {
            certificate(scenario, &authority, region, 90).await?;
            scenario.create_region(region, &region_spec(region)).await?;
        }
        for region in REGIONS {
            scenario.ready(region).await?;
        }
        secret(scenario, DNS_SECRET, [("secret", servers.secret())]).await?;
        names(scenario).create(&PostParams::default(), &object(servers, &more)?).await.context("no DnsFailover")?;
        let judged = Name::healthy(scenario).await;
        let watcher = Watcher::start(&servers.both(), HOST).await?;
        let name = Self { scenario, servers, authority, watcher, relays };
        if judged.is_err() {
            eprintln!("{}", name.told().await);
        }
        judged?;
        Ok(name)
    }

    pub fn names(&self) -> Api<DnsFailover> {
        names(self.scenario)
    }

    /// Merges a patch (RFC 7386) into the object.
    pub async fn change(&self, patch: Value) -> Result<()> {
        self.names().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn status(&self) -> Result<DnsFailoverStatus> {
        self.names().get(NAME).await?.status.context("no status yet")
    }

    /// What the status says of a region.
    pub async fn region(&self, region: &str) -> Result<RegionStatus> {
        let regions = self.status().await?.regions;
        regions.into_iter().find(|one| one.name == region).with_context(|| format!("the status has no {region}"))
    }

    async fn healthy(scenario: &Scenario) -> Result<()> {
        let what = "published everywhere, every region healthy, every vantage point heard";
        wait::object(&names(scenario), NAME, what, JUDGED_WITHIN, is_healthy).await.map(drop)
    }

    /// Every region serves, and is healthy.
    pub async fn is_healthy(&self, limit: Duration) -> Result<()> {
        wait::object(&self.names(), NAME, "every region serves and is healthy", limit, is_healthy).await.map(drop)
    }

    /// Every region serves, is healthy, and is in every answer again.
    pub async fn is_back(&self, limit: Duration) -> Result<()> {
        self.is_healthy(limit).await?;
        self.tells_all(Moment::now()?, limit).await
    }

    /// Until every server tells nothing but relays of `regions`, from `at` on: how long it took.
    pub async fn tells_only(&self, at: Moment, regions: &[&str], within: Duration) -> Result<Duration> {
        let wanted: BTreeSet<IpAddr> = regions.iter().flat_map(|region| self.relays[region].clone()).collect();
        let mut last = Duration::ZERO;
        for server in self.servers.both() {
            let is_it = |told: &BTreeSet<IpAddr>| {
                let told: BTreeSet<_> = told.iter().filter(|one| one.is_ipv4()).copied().collect();
                !told.is_empty() && told.is_subset(&wanted)
            };
            let seen = self.watcher.first_after(at, server, within, is_it).await?;
            last = last.max(seen.since(at));
        }
        Ok(last)
    }

    /// Until every server tells a relay of each of the regions.
    pub async fn tells_all(&self, at: Moment, limit: Duration) -> Result<()> {
        for server in self.servers.both() {
            let has_all = |told: &BTreeSet<IpAddr>| REGIONS.iter().all(|region| !self.relays[region].is_disjoint(told));
            self.watcher.first_after(at, server, limit, has_all).await?;
        }
        Ok(())
    }

    /// Whether the active regions were all of them in every answer from `at` on: nobody was sent away.
    pub fn never_left_out(&self, at: Moment) -> Result<()> {
        let history: History = self.watcher.history();
        for server in self.servers.both() {
            for seen in history.of(server).filter(|seen| seen.at >= at) {
                let Some(told) = seen.answer.addresses() else { continue };
                for region in REGIONS {
                    ensure!(!self.relays[region].is_disjoint(&told), "{server} left {region} out: {told:?}\n{history}");
                }
            }
        }
        Ok(())
    }

    /// The region without the machine of the operator that leads: cutting that one off is another matter.
    pub async fn without_the_leader(&self) -> Result<&'static str> {
        let leader = operator::leader(&self.scenario.client).await?;
        let machine = leader.spec.and_then(|spec| spec.node_name).context("the leader is on no machine")?;
        REGIONS.into_iter().find(|region| !machine.starts_with(region)).context("a region")
    }

    /// The region of the machine of the operator that leads. Another replica is made to lead where it stands in none.
    pub async fn with_the_leader(&self) -> Result<&'static str> {
        let client = &self.scenario.client;
        for _ in 0..LEADERS {
            let leader = operator::leader(client).await?;
            let machine = leader.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("no machine")?;
            if let Some(region) = REGIONS.into_iter().find(|region| machine.starts_with(region)) {
                return Ok(region);
            }
            let before = operator::holder(client).await?;
            processes::kill(&leader.uid().context("a pod has a uid")?).await?;
            operator::another_leads(client, &before, Duration::from_mins(1)).await?;
        }
        bail!("no replica of the operator in a region leads")
    }

    pub fn other(region: &str) -> &'static str {
        if region == REGIONS[0] { REGIONS[1] } else { REGIONS[0] }
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.scenario.client.clone(), &self.scenario.namespace)
    }

    /// Name of the pod of a prober of ours.
    pub async fn prober(&self, vantage_point: &str) -> Result<Pod> {
        let chosen = kube::api::ListParams::default().labels(&format!("{}={vantage_point}", labels::VANTAGE_POINT));
        let pods = self.pods().list(&chosen).await?;
        let staying = pods.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
        staying.with_context(|| format!("no prober {vantage_point}"))
    }

    /// Another certificate for the relays of a region, which they take up by themselves.
    pub async fn certify(&self, region: &str, days: i32) -> Result<()> {
        certificate(self.scenario, &self.authority, region, days).await
    }

    /// What its status says, for people.
    pub async fn told(&self) -> String {
        let object = self.names().get(NAME).await;
        object.map_or_else(
            |error| error.to_string(),
            |object| serde_json::to_string_pretty(&object.status).unwrap_or_default(),
        )
    }
}

fn names(scenario: &Scenario) -> Api<DnsFailover> {
    Api::namespaced(scenario.client.clone(), &scenario.namespace)
}

/// Every transport.
pub fn listeners(tls: u16) -> Value {
    json!([
        {"name": "udp", "protocol": "UDP", "port": PORT},
        {"name": "tcp", "protocol": "TCP", "port": PORT},
        {"name": "tls", "protocol": "TLS", "port": tls},
    ])
}

fn region_spec(region: &str) -> String {
    json!({
        "failoverGroup": "india",
        "listeners": listeners(TLS_PORT),
        "tls": {"secretName": format!("turn-tls-{region}")},
        // Machines, and probers on the pods' network.
        "relay": {"allowPeers": ["10.200.0.0/24", "10.201.0.0/16", "fd00:200::/64"]},
    })
    .to_string()
}

fn object(servers: &DnsServers, more: &Value) -> Result<DnsFailover> {
    let mut spec = json!({
        "hostname": HOST,
        "failoverGroup": "india",
        "provider": {"rfc2136": {
            "servers": [servers.primary().ip()],
            "tsig": {"keyName": servers.key_name(), "secretRef": {"name": DNS_SECRET}},
        }},
    });
    for (field, value) in more.as_object().context("an object")? {
        spec[field] = value.clone();
    }
    Ok(serde_json::from_value(json!({
        "apiVersion": "rtcfleet.dev/v1alpha1", "kind": "DnsFailover", "metadata": {"name": NAME}, "spec": spec,
    }))?)
}

async fn secret<'a>(scenario: &Scenario, name: &str, data: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let data: BTreeMap<&str, &str> = data.into_iter().collect();
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let params = PatchParams::apply("e2e").force();
    scenario.secrets().patch(name, &params, &Patch::<Secret>::Apply(serde_json::from_value(object)?)).await?;
    Ok(())
}

async fn certificate(scenario: &Scenario, authority: &Authority, region: &str, days: i32) -> Result<()> {
    let issued = authority.issue_for(&[], days)?;
    let roots = std::fs::read_to_string(authority.file())?;
    let data = [("tls.crt", issued.certificate.as_str()), ("tls.key", &issued.key), ("ca.crt", &roots)];
    secret(scenario, &format!("turn-tls-{region}"), data).await
}

fn is_healthy(name: &DnsFailover) -> bool {
    let Some(status) = &name.status else { return false };
    let is_fine =
        |region: &RegionStatus| region.health == RegionHealth::Healthy && region.state == RegionState::Serving;
    status.observed_generation == name.metadata.generation
        && status.conditions.is_true(condition::READY)
        && !status.conditions.is_true(condition::RECONCILING)
        && status.regions.len() == REGIONS.len()
        && status.regions.iter().all(is_fine)
        && status.vantage_points.iter().all(|point| point.state == VantagePointState::Fine)
}
