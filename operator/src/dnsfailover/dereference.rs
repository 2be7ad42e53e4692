//! Reads what a pass looks at: stores and offers each time, Secrets seldom, because a pass is made every second.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::labels;
use rtcfleet_crds::turn_region::Mode;

use super::build::admin_secret_name;
use super::memory::Seldom;
use super::observed::{LeftOut, Observed, Why, prober_pods};
use super::validate::{ManagedName, Members, Provider, SecretEntry, ServicePrincipal};
use crate::context::Ctx;
use crate::identity::Identity;
use crate::kube_io::{self, IoError, Packed};
use crate::publish::Publisher;
use crate::publish::azure::{ClientSecret, Cloud, Credentials, MayWrite, ProfileId, TrafficManager};
use crate::publish::external_dns::ExternalDns;
use crate::publish::rfc2136::{NoKey, NoSettings, Rfc2136, Settings, TsigKey};
use crate::turnregion::caches::{Caches, Guarded};
use crate::turnregion::offer::{Offer, Offers};

/// Between two looks at Secrets.
const SECRETS: Duration = Duration::from_secs(10);
/// Of a TLS Secret: the authorities of its certificate, as cert-manager writes them.
const AUTHORITIES: &str = "ca.crt";

/// From the stores; cannot fail.
pub fn dereference(name: &ManagedName, caches: &Caches, ctx: &Ctx) -> Observed {
    let identity = &name.identity;
    let mut observed = Observed::default();
    for (region, object) in members(name, caches, &ctx.offers) {
        match offered(&region, object.as_deref(), identity, ctx) {
            Ok(offer) => observed.offers.push(offer),
            Err(why) => observed.left_out.push(LeftOut { region, why }),
        }
    }
    let pods = of_name(identity, &caches.pods.state());
    let machines = caches.machines.state();
    observed.pods = prober_pods(&pods, |machine| {
        let node = machines.iter().find(|node| node.name_any() == machine)?;
        node.labels().get(labels::REGION).cloned()
    });
    let deployments = of_name(identity, &caches.deployments.state());
    observed.deployments = deployments.iter().filter_map(|packed| Packed::unpacked(packed)).collect();
    observed.config = of_name(identity, &caches.config_maps.state()).first().map(|found| (**found).clone());
    observed
}

/// By name, with the object where there is one. One that cannot be read is of the group that it was of when it could be; where
/// nobody knows, it may be of any.
fn members(name: &ManagedName, caches: &Caches, offers: &Offers) -> BTreeMap<String, Option<Arc<Guarded>>> {
    let here: BTreeMap<String, Arc<Guarded>> = caches
        .regions
        .state()
        .into_iter()
        .filter(|region| region.namespace().as_deref() == Some(&name.identity.namespace))
        .map(|region| (region.name_any(), region))
        .collect();
    match &name.members {
        Members::Named(names) => names.iter().map(|name| (name.clone(), here.get(name).cloned())).collect(),
        Members::Group(group) => {
            let last = |region: &str| offers.get(&name.identity.namespace, region);
            let ours = here.into_iter().filter(|(name, region)| is_of(group, region, last(name).as_deref()));
            ours.map(|(name, one)| (name, Some(one))).collect()
        }
    }
}

/// `last` is what it offered last.
fn is_of(group: &str, region: &Guarded, last: Option<&Offer>) -> bool {
    let is_it = |named: Option<&String>| named.is_some_and(|named| named == group);
    match &region.0 {
        Ok(region) => is_it(region.spec.failover_group.as_ref()),
        Err(_) => last.is_none_or(|last| is_it(last.failover_group.as_ref())),
    }
}

fn offered(name: &str, object: Option<&Guarded>, identity: &Identity, ctx: &Ctx) -> Result<Arc<Offer>, Why> {
    let object = object.ok_or(Why::Missing)?;
    // One that cannot be read is as it was when it could be.
    if object.0.as_ref().is_ok_and(|region| region.spec.mode == Some(Mode::External)) {
        return Err(Why::External);
    }
    if object.meta().deletion_timestamp.is_some() {
        return Err(Why::Ending);
    }
    let offer = ctx.offers.get(&identity.namespace, name).ok_or(Why::NotLookedAt)?;
    if object.uid().as_ref() == Some(&offer.uid) { Ok(offer) } else { Err(Why::NotLookedAt) }
}

fn of_name<K: Resource>(identity: &Identity, all: &[Arc<K>]) -> Vec<Arc<K>> {
    let ours = |object: &&Arc<K>| {
        object.namespace().as_deref() == Some(&identity.namespace)
            && object.labels().get(labels::DNS_FAILOVER) == Some(&identity.name)
    };
    all.iter().filter(ours).cloned().collect()
}

/// Why an answer cannot be published at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPublisher {
    #[error(
        "Secret {} does not exist: kubectl create secret generic {} --from-literal={}=…, with the secret of the TSIG key or, for Azure, of the client", .0.name, .0.name, .0.key
    )]
    NoSecret(SecretEntry),
    #[error("Secret {} has no key {:?}: write it there, or name another one in the provider's secretRef.key", .0.name, .0.key)]
    NoKeyInSecret(SecretEntry),
    #[error("Secret {}, key {}: {why}", .entry.name, .entry.key)]
    Key { entry: SecretEntry, why: String },
    #[error("spec.provider.rfc2136.servers: {0}")]
    Settings(String),
    #[error(
        "spec.provider.azureTrafficManager: nobody to sign in as: write credentials: {{tenantId, clientId, secretRef: {{name}}}}, or give the operator a workload identity, with the label azure.workload.identity/use: \"true\" on its pods and the annotation azure.workload.identity/client-id on its service account (docs/dns-providers.md)"
    )]
    NoIdentity,
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Secrets, if they were not read a short while ago. What was read last stays while the API server does not answer.
pub async fn seldom(name: &ManagedName, offers: &[Arc<Offer>], last: &mut Seldom, ctx: &Ctx) -> Result<(), IoError> {
    let now = ctx.clock.instant();
    let wanted: Vec<String> = offers.iter().filter_map(|offer| offer.certificate.clone()).collect();
    let is_fresh = last.read.is_some_and(|read| now.saturating_duration_since(read) < SECRETS);
    if is_fresh && last.generation == name.identity.generation && last.certificates == wanted {
        return Ok(());
    }
    let secrets = Api::<Secret>::namespaced(ctx.client.clone(), &name.identity.namespace);
    let secret = match name.provider.secret() {
        None => None,
        Some(entry) => Some(text_of(kube_io::get(&secrets, &entry.name).await?.as_ref(), entry)),
    };
    if last.publisher.is_none() || last.provider.as_ref() != Some(&name.provider) || last.secret != secret {
        last.publisher = Some(publisher(name, secret.as_ref(), ctx));
        last.provider = Some(name.provider.clone());
        last.secret = secret;
    }
    last.admin = kube_io::get(&secrets, &admin_secret_name(&name.identity)).await?;
    last.authorities = authorities(&secrets, &wanted, last.authorities.as_ref()).await?;
    last.certificates = wanted;
    last.generation = name.identity.generation;
    last.read = Some(now);
    Ok(())
}

fn text_of(found: Option<&Secret>, entry: &SecretEntry) -> Result<Confidential, NoPublisher> {
    let Some(found) = found else { return Err(NoPublisher::NoSecret(entry.clone())) };
    let value = found.data.as_ref().and_then(|data| data.get(&entry.key));
    let text = value.and_then(|value| String::from_utf8(value.0.clone()).ok()).filter(|text| !text.trim().is_empty());
    text.map(Confidential).ok_or_else(|| NoPublisher::NoKeyInSecret(entry.clone()))
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(String);

impl std::fmt::Debug for Confidential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

fn publisher(
    name: &ManagedName,
    secret: Option<&Result<Confidential, NoPublisher>>,
    ctx: &Ctx,
) -> Result<Arc<dyn Publisher>, NoPublisher> {
    let secret = secret.map(|read| read.as_ref().map_err(Clone::clone)).transpose()?.map_or("", |text| &text.0);
    Ok(match &name.provider {
        Provider::Rfc2136 { zone, servers, key } => {
            let tsig = TsigKey::new(key.name.clone(), key.algorithm, secret)
                .map_err(|why: NoKey| NoPublisher::Key { entry: key.secret.clone(), why: why.to_string() })?;
            let settings = Settings::new(zone.clone(), servers.clone(), tsig)
                .map_err(|why: NoSettings| NoPublisher::Settings(why.to_string()))?;
            Arc::new(Rfc2136::new(settings, Arc::clone(&ctx.clock)))
        }
        Provider::ExternalDns { labels, routing } => {
            Arc::new(ExternalDns::new(ctx.client.clone(), name.identity.clone(), labels.clone(), *routing))
        }
        Provider::AzureTrafficManager { profile, credentials } => {
            Arc::new(traffic_manager(name, profile, credentials.as_ref(), secret, ctx)?)
        }
    })
}

fn traffic_manager(
    name: &ManagedName,
    profile: &ProfileId,
    credentials: Option<&ServicePrincipal>,
    secret: &str,
    ctx: &Ctx,
) -> Result<TrafficManager, NoPublisher> {
    let cloud = &ctx.settings.azure;
    let credentials = self::credentials(credentials, cloud, secret)?;
    let (leadership, clock) = (ctx.leadership.clone(), Arc::clone(&ctx.clock));
    let may_write: MayWrite = Arc::new(move || leadership.fence(clock.instant()).is_some());
    // Names differ from each other, so that those that fail together do not come back together.
    let mut seed = DefaultHasher::new();
    name.identity.uid.hash(&mut seed);
    let clock = Arc::clone(&ctx.clock);
    TrafficManager::new(profile.clone(), cloud, credentials, clock, may_write, seed.finish())
        .map_err(|error| NoPublisher::Tls(error.to_string()))
}

/// Those of the object come before the operator's own.
fn credentials(written: Option<&ServicePrincipal>, cloud: &Cloud, secret: &str) -> Result<Credentials, NoPublisher> {
    match (written, &cloud.workload_identity) {
        (Some(ServicePrincipal { tenant, client, secret: _ }), _) => Ok(Credentials::Secret {
            tenant: tenant.clone(),
            client: client.clone(),
            secret: ClientSecret::new(secret),
        }),
        (None, Some(identity)) => Ok(Credentials::WorkloadIdentity(identity.clone())),
        (None, None) => Err(NoPublisher::NoIdentity),
    }
}

/// Of all certificates together. None unless each of them says who its authorities are: then they are public ones. `last` stays
/// while one of them is not there, as when it is made again: relays go on with what they have.
async fn authorities(
    secrets: &Api<Secret>,
    certificates: &[String],
    last: Option<&String>,
) -> Result<Option<String>, IoError> {
    let mut all: Vec<String> = Vec::new();
    for name in certificates {
        let Some(secret) = kube_io::get(secrets, name).await? else { return Ok(last.cloned()) };
        let value = secret.data.as_ref().and_then(|data| data.get(AUTHORITIES));
        let Some(text) = value.and_then(|value| String::from_utf8(value.0.clone()).ok()) else { return Ok(None) };
        if !all.contains(&text) {
            all.push(text);
        }
    }
    Ok((!all.is_empty()).then(|| all.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::cloud;
    use super::*;
    use crate::publish::azure::WorkloadIdentity;
    use crate::turnregion::test_support::offer;

    #[test]
    fn a_region_that_cannot_be_read_is_of_the_group_that_it_was_of() {
        let region = |spec: &str| -> Guarded {
            let spec: serde_json::Value = crate::yaml::parse(spec).unwrap();
            serde_json::from_value(serde_json::json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
        };
        let (readable, unreadable) = (region("{region: a, failoverGroup: india}"), region("{region: {}}"));
        assert!(unreadable.0.is_err());
        let last = |group: &str| Offer { failover_group: Some(group.into()), ..offer("a") };
        for (case, object, last, expected) in [
            ("it says so", &readable, None, true),
            ("it was of another, and says so", &readable, Some(last("europe")), true),
            ("nobody knows", &unreadable, None, true),
            ("it was", &unreadable, Some(last("india")), true),
            ("it was of another", &unreadable, Some(last("europe")), false),
            ("it was of none", &unreadable, Some(offer("a")), false),
        ] {
            assert_eq!(is_of("india", object, last.as_ref()), expected, "{case}");
        }
    }

    #[test]
    fn the_credentials_of_an_object_come_before_the_identity_of_the_operator() {
        let own = WorkloadIdentity { tenant: "t".into(), client: "operator".into(), token_file: "/token".into() };
        let entry = SecretEntry { name: "azure".into(), key: "secret".into() };
        let written = ServicePrincipal { tenant: "t".into(), client: "written".into(), secret: entry };
        let client = |written, own| {
            let found = credentials(written, &cloud(own), "s").map_err(|error| error.to_string())?;
            Ok::<_, String>(found.client().to_owned())
        };
        assert_eq!(client(Some(&written), Some(own.clone())).unwrap(), "written");
        assert_eq!(client(None, Some(own)).unwrap(), "operator");
        let told = client(None, None).unwrap_err();
        assert!(told.contains("write credentials: {tenantId, clientId, secretRef: {name}}"), "{told}");
        assert!(told.contains("azure.workload.identity/use: \"true\""), "{told}");
    }
}
