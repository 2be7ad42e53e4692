//! Machines that are only objects, and the addresses of their relays, which are this machine's.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{command, wait};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rtcfleet_crds::labels;
use serde_json::{Value, json};

use crate::fleet::Size;

/// What tells these machines from those with a kubelet.
pub const LABEL: &str = "rtcfleet.dev/pretended";
/// Room for 65 000 machines.
const NETWORK: &str = "10.250.0.0/16";
const AT_A_TIME: usize = 16;

/// The machines' addresses, answered by this machine until dropped.
pub struct Addresses;

impl Addresses {
    pub async fn add() -> Result<Self> {
        route("replace").await?;
        Ok(Self)
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let removed = std::process::Command::new("ip").args(["route", "del", "local", NETWORK, "dev", "lo"]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("the route is still there: ip route del local {NETWORK} dev lo");
        }
    }
}

async fn route(verb: &str) -> Result<()> {
    command::run("ip", &["route", verb, "local", NETWORK, "dev", "lo"], Duration::from_secs(5)).await?;
    Ok(())
}

/// Of the `number`-th machine.
fn address(number: u32) -> Ipv4Addr {
    let [.., high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(10, 250, high, low)
}

pub async fn create(client: &Client, size: Size) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    stream::iter(0..size.machines())
        .map(Ok)
        .try_for_each_concurrent(AT_A_TIME, async |number| {
            let name = format!("pretended-{number}");
            let node: Node = serde_json::from_value(node(number, size))?;
            match nodes.create(&PostParams::default(), &node).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                other => drop(other.with_context(|| format!("node {name}"))?),
            }
            let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": address(number)}]}});
            nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&addresses)).await?;
            Ok(())
        })
        .await
}

fn node(number: u32, size: Size) -> Value {
    json!({
        "metadata": {
            "name": format!("pretended-{number}"),
            "labels": {LABEL: "true", labels::REGION: size.region_of(number)},
        },
        // Nothing but what tolerates it may be scheduled there.
        "spec": {"taints": [{"key": LABEL, "effect": "NoSchedule"}]},
    })
}

pub async fn all_ready(client: &Client, size: Size, limit: Duration) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    wait::until("every machine is ready", limit, async || {
        let found = nodes.list(&ListParams::default().labels(LABEL)).await?.items;
        let ready = found.iter().filter(|node| is_ready(node)).count();
        if ready < size.machines() as usize {
            tokio::time::sleep(Duration::from_secs(2)).await; // A list of thousands is not for every moment.
        }
        ensure!(ready == size.machines() as usize, "{ready} of {} are ready", size.machines());
        Ok(())
    })
    .await
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
