//! The Deployment of a prober: one pod, on the cluster's network.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, KeyToPath, NodeAffinity, NodeSelectorRequirement,
    NodeSelectorTerm, PodAffinity, PodAffinityTerm, PodSpec, PodTemplateSpec, PreferredSchedulingTerm,
    ResourceRequirements, SecurityContext, Volume, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use rtcfleet_crds::labels;

use super::config::{AUTH_FOLDER, CONFIG_FILE, CONFIG_FOLDER};
use super::{Material, Place, Prober, admin_secret_name, config_name, meta, own_labels};
use crate::admin_port;
use crate::dnsfailover::validate::{ManagedName, Probers};
use crate::pod::{ADMIN_PORT, METRICS_PORT, USER, config_volume, field, mount, probe, secret_volume, security_context};
use crate::turnregion::offer::Offer;

/// It ends its probes in 2 s.
const GRACE: i64 = 5;
const REGION: &str = labels::REGION;

pub fn deployment(name: &ManagedName, asked: &Probers, prober: &Prober, material: &Material<'_>) -> Deployment {
    let mut labels = own_labels(&name.identity);
    labels.insert(labels::VANTAGE_POINT.to_owned(), prober.name.clone());
    let selector = labels
        .clone()
        .into_iter()
        .filter(|(key, _)| [labels::MANAGED_BY, labels::DNS_FAILOVER, labels::VANTAGE_POINT].contains(&key.as_str()));
    let mut metadata = meta(&name.identity, format!("{}-probe-{}", name.identity.name, prober.name));
    metadata.labels = Some(labels.clone());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(1),
            selector: LabelSelector { match_labels: Some(selector.collect()), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(name, asked, prober, material)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(name: &ManagedName, asked: &Probers, prober: &Prober, material: &Material<'_>) -> PodSpec {
    let (node_selector, tolerations, affinity, pull_secrets) = match &prober.place {
        Place::In { machines, tolerations, image_pull_secrets } => (
            Some(BTreeMap::from([(REGION.to_owned(), machines.clone())])),
            Some(tolerations.clone()).filter(|all| !all.is_empty()),
            None,
            image_pull_secrets,
        ),
        Place::Outside { machines, image_pull_secrets } => {
            (None, None, Some(outside(machines, material.operator_namespace)), image_pull_secrets)
        }
    };
    let mut pull_secrets = pull_secrets.clone();
    pull_secrets.sort();
    pull_secrets.dedup();
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        node_selector,
        tolerations,
        affinity,
        termination_grace_period_seconds: Some(GRACE),
        security_context: Some(security_context(USER)),
        image_pull_secrets: crate::pod::pull_secrets(&pull_secrets),
        containers: vec![container(asked, material)],
        volumes: Some(volumes(name, material)),
        ..PodSpec::default()
    }
}

/// Outside of the regions first: a prober that goes with a region has no vote about it. Then near the operator.
fn outside(machines: &[String], operator_namespace: &str) -> Affinity {
    let expression =
        NodeSelectorRequirement { key: REGION.into(), operator: "NotIn".into(), values: Some(machines.to_vec()) };
    let term = NodeSelectorTerm { match_expressions: Some(vec![expression]), match_fields: None };
    let operator: BTreeMap<String, String> = [(labels::NAME, "rtc-fleet"), (labels::COMPONENT, "operator")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let beside = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(operator), ..LabelSelector::default() }),
        namespaces: Some(vec![operator_namespace.to_owned()]),
        topology_key: REGION.into(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![PreferredSchedulingTerm {
                weight: 100,
                preference: term,
            }]),
            ..NodeAffinity::default()
        }),
        pod_affinity: Some(PodAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 10,
                pod_affinity_term: beside,
            }]),
            ..PodAffinity::default()
        }),
        pod_anti_affinity: None,
    }
}

fn container(asked: &Probers, material: &Material<'_>) -> Container {
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.into()),
        protocol: Some("TCP".into()),
        container_port: number.into(),
        ..ContainerPort::default()
    };
    let mut mounts = vec![mount("probe", CONFIG_FOLDER), mount("admin", admin_port::FOLDER)];
    mounts.extend(
        material.offers.iter().map(|offer| mount(&auth_volume(offer), &format!("{AUTH_FOLDER}/{}", offer.seen.name))),
    );
    Container {
        name: "probe".into(),
        image: Some(material.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(vec![
            "probe".to_owned(),
            format!("--config={CONFIG_FOLDER}/{CONFIG_FILE}"),
            format!("--metrics-address=$(POD_IP):{METRICS_PORT}"),
            format!("--admin-address=$(POD_IP):{ADMIN_PORT}"),
            // Relays' quotas count each prober for itself, and drains do not wait for what a prober that was killed has left.
            "--user=rtc-fleet-prober.$(POD_NAME)".to_owned(),
            "--log-format=json".to_owned(),
        ]),
        // A variable, not a flag: a release that does not know it starts all the same.
        env: Some(vec![
            field("POD_IP", "status.podIP"),
            field("POD_NAME", "metadata.name"),
            EnvVar { name: "RTC_ACCEPT_CONFIG".into(), value: Some("true".into()), value_from: None },
        ]),
        ports: Some(vec![port("admin", ADMIN_PORT), port("metrics", METRICS_PORT)]),
        resources: Some(asked.resources.clone().unwrap_or_else(resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// No limit of CPU: a prober that is late has no vote.
fn resources() -> ResourceRequirements {
    let quantities = |all: &[(&str, &str)]| {
        all.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "20m"), ("memory", "32Mi")])),
        limits: Some(quantities(&[("memory", "128Mi")])),
        ..ResourceRequirements::default()
    }
}

fn volumes(name: &ManagedName, material: &Material<'_>) -> Vec<Volume> {
    let mut volumes = vec![
        config_volume("probe", &config_name(&name.identity)),
        secret_volume("admin", &admin_secret_name(&name.identity)),
    ];
    volumes.extend(material.offers.iter().map(|offer| auth(offer)));
    volumes
}

fn auth_volume(offer: &Offer) -> String {
    format!("auth-{}", offer.seen.name)
}

/// Optional: a prober without one region's secret probes the others.
fn auth(offer: &Offer) -> Volume {
    let keys = [Some(&offer.secret.current), offer.secret.previous.as_ref()].into_iter().flatten();
    let item = |key: &String| KeyToPath { key: key.clone(), path: key.clone(), mode: None };
    let mut volume = secret_volume(&auth_volume(offer), &offer.secret.name);
    if let Some(source) = &mut volume.secret {
        // Also of the keys: the previous one is mostly missing.
        source.optional = Some(true);
        source.items = Some(keys.map(item).collect());
    }
    volume
}
