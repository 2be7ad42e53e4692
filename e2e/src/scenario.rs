//! The frame of a scenario with relays: machines that nobody holds, a namespace with the relays' Secret, and what a person
//! needs when it fails.

use std::{
    collections::BTreeSet,
    fs::File,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use rtcfleet_crds::{TurnRegion, labels};
use serde_json::{Value, json};

use crate::{cluster, diagnostics, faults, namespace, operator, stream::Stream, turn::Credentials, wait};

/// Where clients and peers are, outside of every machine of the cluster.
pub const OUTSIDE: [&str; 2] = ["10.200.0.1", "fd00:200::1"];
/// What credentials are made from.
pub const SECRET: &str = "the secret of the scenarios";
/// Name of the Secret that holds it, under the key `current`.
pub const SECRET_NAME: &str = "turn-auth";
pub const PORT: u16 = 3478;
/// Of relays and of probers.
pub const METRICS_PORT: u16 = 9090;
/// The realm of every relay, and the name in the certificates of those that have one.
pub const HOST: &str = "turn.example.org";

/// A namespace in which a scenario has its regions.
pub struct Scenario {
    pub client: Client,
    pub namespace: String,
}

/// Runs a scenario on machines that no relay holds, in a namespace of its own. Machines are shared: relays that an aborted
/// run or the quick start left are deleted first, and said.
pub async fn with<Body>(topic: &str, body: Body) -> Result<()>
where
    Body: AsyncFnOnce(Scenario) -> Result<()>,
{
    ensure!(
        cluster::is_local(),
        "this scenario sends from, and breaks, the machine of the local cluster; KUBECONFIG names another one: unset it and run `make up`"
    );
    let client = cluster::client().await?;
    let _alone = alone().await?;
    faults::remove_leftovers().await?;
    operator::is_installed(&client).await?;
    free_machines(&client).await?;
    namespace::with(topic, async |client, namespace| {
        let outcome = body(Scenario { client: client.clone(), namespace: namespace.to_owned() }).await;
        if outcome.is_err() {
            eprintln!("{}", diagnostics::of_namespace(&client, operator::NAMESPACE).await);
        }
        outcome
    })
    .await
}

/// Waits until no other run of the scenarios uses the machines. Held until the file is closed, however the process ends.
async fn alone() -> Result<File> {
    let path = cluster::cache().context("no home folder")?.join("scenarios.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut told = false;
    // The longest one, half an hour of faults, takes a bit more than that.
    wait::until("no other scenario uses the machines", Duration::from_mins(45), async || {
        if let Err(held) = file.try_lock() {
            if !told {
                eprintln!("another run of the scenarios uses the machines: this one waits");
                told = true;
            }
            bail!("{}: {held}", path.display());
        }
        Ok(())
    })
    .await?;
    Ok(file)
}

/// Deletes every region that has relays, and waits until no machine runs one.
async fn free_machines(client: &Client) -> Result<()> {
    let ours = ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let slots = Api::<Deployment>::all(client.clone()).list(&ours).await?;
    let owner = |slot: &Deployment| Some((slot.namespace()?, slot.labels().get(labels::TURN_REGION)?.clone()));
    let holders: BTreeSet<(String, String)> = slots.iter().filter_map(owner).collect();
    for (namespace, name) in holders {
        eprintln!("TurnRegion {namespace}/{name} holds machines that this scenario needs: it is deleted");
        let deleted =
            Api::<TurnRegion>::namespaced(client.clone(), &namespace).delete(&name, &DeleteParams::default()).await;
        if let Err(error) = deleted {
            ensure!(matches!(&error, kube::Error::Api(status) if status.is_not_found()), error);
        }
    }
    wait::until("no machine runs a relay", Duration::from_secs(90), async || {
        let pods = Api::<Pod>::all(client.clone()).list(&ours).await?;
        let slots = Api::<Deployment>::all(client.clone()).list(&ours).await?;
        ensure!(
            pods.items.is_empty() && slots.items.is_empty(),
            "there are {:?} of {:?}",
            pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            slots.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
        Ok(())
    })
    .await
}

impl Scenario {
    pub fn regions(&self) -> Api<TurnRegion> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create_secret(&self) -> Result<()> {
        let secret = Secret {
            metadata: ObjectMeta { name: Some(SECRET_NAME.into()), ..ObjectMeta::default() },
            string_data: Some([("current".to_owned(), SECRET.to_owned())].into()),
            ..Secret::default()
        };
        self.secrets().create(&PostParams::default(), &secret).await.context("no Secret")?;
        Ok(())
    }

    /// Creates a region, named as the machines' region is, with `more` (YAML) in its spec.
    pub async fn create_region(&self, name: &str, more: &str) -> Result<TurnRegion> {
        let region = serde_json::from_value(region(name, name, more)?)?;
        self.regions().create(&PostParams::default(), &region).await.with_context(|| format!("no region {name}"))
    }

    /// Creates the Secret and a region, and waits until that serves.
    pub async fn serving(&self, name: &str, more: &str) -> Result<TurnRegion> {
        self.create_secret().await?;
        self.create_region(name, more).await?;
        self.ready(name).await
    }

    pub async fn ready(&self, name: &str) -> Result<TurnRegion> {
        wait::ready(&self.regions(), name, Duration::from_mins(1)).await
    }

    /// The pods of a region, by slot. Those that are ending are left out.
    pub async fn relays(&self, region: &str) -> Result<Vec<Relay>> {
        let chosen = ListParams::default().labels(&format!("{}={region}", labels::TURN_REGION));
        let pods = self.pods().list(&chosen).await?.items;
        let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut relays = staying.map(Relay::of).collect::<Result<Vec<_>>>()?;
        relays.sort_by_key(|relay| relay.slot);
        Ok(relays)
    }

    /// The one pod of a slot.
    pub async fn relay(&self, region: &str, slot: u32) -> Result<Relay> {
        let relays = self.relays(region).await?;
        let mut of_slot = relays.into_iter().filter(|relay| relay.slot == slot);
        match (of_slot.next(), of_slot.next()) {
            (Some(relay), None) => Ok(relay),
            (found, more) => bail!("slot {slot} of {region} should have one pod, and has {found:?} and {more:?}"),
        }
    }

    /// The pod that takes the place of `before` in its slot, when it serves. The region's `Ready` may still be that of
    /// before.
    pub async fn successor(&self, region: &str, before: &Relay) -> Result<Relay> {
        let what = format!("another relay serves in slot {} of {region}", before.slot);
        wait::until(&what, Duration::from_mins(1), async || {
            let now = self.relay(region, before.slot).await?;
            ensure!(now.uid != before.uid, "{} is still there", now.pod);
            let conditions = self.pods().get(&now.pod).await?.status.and_then(|status| status.conditions);
            let is_ready =
                conditions.iter().flatten().any(|one| (one.type_.as_str(), one.status.as_str()) == ("Ready", "True"));
            ensure!(is_ready, "{} is not ready", now.pod);
            Ok(now)
        })
        .await
    }

    /// A light stream through one relay.
    pub async fn stream(&self, relay: &Relay) -> Result<Stream> {
        self.stream_of(relay, Stream::LIGHT).await
    }

    /// Several heavy streams through one relay.
    pub async fn load(&self, relay: &Relay, streams: usize) -> Result<Vec<Stream>> {
        let mut all = Vec::new();
        for _ in 0..streams {
            all.push(self.stream_of(relay, Stream::HEAVY).await?);
        }
        Ok(all)
    }

    async fn stream_of(&self, relay: &Relay, payload: usize) -> Result<Stream> {
        let address = relay.address.with_context(|| format!("{} has no address", relay.pod))?;
        let outside = SocketAddr::new(OUTSIDE[0].parse()?, 0);
        Stream::start(SocketAddr::new(address, PORT), outside, &Credentials::new(SECRET, "stream")?, payload)
            .await
            .with_context(|| format!("no stream through {}", relay.pod))
    }
}

/// A relay: the pod of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub slot: u32,
    pub pod: String,
    pub uid: String,
    pub node: String,
    /// Of its machine, IPv4.
    pub address: Option<IpAddr>,
}

impl Relay {
    fn of(pod: &Pod) -> Result<Self> {
        let name = pod.name_any();
        let slot = pod.labels().get(labels::SLOT).and_then(|slot| slot.parse().ok());
        Ok(Self {
            slot: slot.with_context(|| format!("pod {name} has no slot"))?,
            uid: pod.uid().with_context(|| format!("pod {name} has no uid"))?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            address: pod.status.as_ref().and_then(|status| status.host_ip.as_deref()?.parse().ok()),
            pod: name,
        })
    }
}

/// A TurnRegion whose relays reach peers outside of the machines; `more` (YAML) is laid over its spec, and a null there
/// removes a field.
pub fn region(name: &str, machines: &str, more: &str) -> Result<Value> {
    let mut spec = json!({
        "region": machines,
        "listeners": [{"name": "udp", "protocol": "UDP", "port": PORT}],
        "relay": {"allowPeers": ["10.200.0.0/24", "fd00:200::/64"]},
        "auth": {"realm": HOST, "secretRef": {"name": SECRET_NAME}},
    });
    let more: Value = serde_yaml::from_str(more).with_context(|| format!("{more:?} is no YAML"))?;
    for (field, value) in more.as_object().context("what is laid over a spec is an object")? {
        spec[field] = value.clone();
    }
    let fields = spec.as_object_mut().context("a spec is an object")?;
    fields.retain(|_, value| !value.is_null());
    Ok(json!({
        "apiVersion": format!("{}/{}", rtcfleet_crds::GROUP, rtcfleet_crds::VERSION), "kind": "TurnRegion",
        "metadata": {"name": name}, "spec": spec,
    }))
}

/// The addresses of a region's machines, as Kubernetes knows them, sorted.
pub async fn machine_addresses(client: &Client, region: &str) -> Result<Vec<IpAddr>> {
    let chosen = ListParams::default().labels(&format!("{}={region}", labels::REGION));
    let machines = Api::<Node>::all(client.clone()).list(&chosen).await?;
    let addresses = machines.iter().filter_map(|machine| machine.status.as_ref()?.addresses.as_ref()).flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let mut all = internal.map(|one| one.address.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
    all.sort_unstable();
    ensure!(!all.is_empty(), "region {region} has no machine: run `make up`");
    Ok(all)
}
