//! Names that are deleted.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{command::kubectl, dns, scenario::HOST, wait};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};
use rtcfleet_crds::DnsFailover;
use serde_json::json;

use crate::name::{self, NAME, Name, REGIONS};

const GONE_WITHIN: Duration = Duration::from_secs(20);
/// A minute of patience, and a pass.
const LET_GO_WITHIN: Duration = Duration::from_secs(90);
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);
/// Of somebody else, in the same zone.
const OTHER: &str = "other.example.org";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_name_leaves_the_zone_and_is_let_go_where_there_are_no_servers_any_more() -> Result<()> {
    let ended = name::until_the_end("dns-ending", json!({"regionNames": true}), async |name| {
        name.servers.update(OTHER, &["192.0.2.9".parse()?]).await?;
        let object = name.names().get(NAME).await?;
        leaves_the_zone(name).await?;
        let again = DnsFailover::new(NAME, object.spec);
        name.names().create(&PostParams::default(), &again).await?;
        name.is_healthy(HEALTHY_WITHIN).await?;
        is_let_go(name).await
    });
    Box::pin(ended).await.map(drop)
}

/// Every name of it, and nothing else.
async fn leaves_the_zone(name: &Name<'_>) -> Result<()> {
    let names: Vec<String> =
        REGIONS.map(|region| format!("{region}.{HOST}")).into_iter().chain([HOST.into()]).collect();
    for one in &names {
        ensure!(!addresses(name, one).await?.is_empty(), "{one} was never there");
    }
    name.names().delete(NAME, &DeleteParams::default()).await?;
    is_gone(name, GONE_WITHIN).await?;
    wait::until("nobody tells it any more", GONE_WITHIN, async || {
        for one in &names {
            let told = addresses(name, one).await?;
            ensure!(told.is_empty(), "{one}: {told:?}");
        }
        Ok(())
    })
    .await?;
    ensure!(!addresses(name, OTHER).await?.is_empty(), "{OTHER} went with it");
    Ok(())
}

async fn is_let_go(name: &mut Name<'_>) -> Result<()> {
    name.servers.stop_all().await?;
    let uid = name.names().delete(NAME, &DeleteParams::default()).await?.left().and_then(|object| object.uid());
    uid.context("it was gone before its servers were asked")?;
    is_gone(name, LET_GO_WITHIN).await?;
    let events = kubectl(&["-n", &name.scenario.namespace, "get", "events"], "").await?.stdout;
    ensure!(events.contains("LetGo"), "no Event says that its answers stay:\n{events}");
    Ok(())
}

async fn is_gone(name: &Name<'_>, limit: Duration) -> Result<()> {
    wait::until("the object is gone", limit, async || {
        ensure!(name.names().get_opt(NAME).await?.is_none(), "its finalizer holds it");
        Ok(())
    })
    .await
}

/// That either of the servers tells.
async fn addresses(name: &Name<'_>, of: &str) -> Result<BTreeSet<std::net::IpAddr>> {
    let mut all = BTreeSet::new();
    for server in name.servers.both() {
        all.extend(dns::ask(server, of).await?);
    }
    Ok(all)
}
