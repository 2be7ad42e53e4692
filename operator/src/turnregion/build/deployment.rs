//! The Deployment of a slot: one relay, on the machine's own network, one a machine.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, PodSpec, PodTemplateSpec, Probe, SecurityContext, Toleration,
    TopologySpreadConstraint, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rtcfleet_crds::labels;
use rtcfleet_crds::turn_region::Protocol;

use super::{
    REGION_UID, admin_secret_name,
    config::{AUTH_FOLDER, LIMITS_FOLDER, MACHINES_FOLDER, TLS_FOLDER, TURN_FILE, TURN_FOLDER},
    limits, meta, region_labels, selector, short_hash,
};
use crate::admin_port;
use crate::pod::{
    ADMIN_PORT, METRICS_PORT, ROOT, USER, config_volume, field, mount, probe, pull_secrets, secret_volume,
    security_context,
};
use crate::turnregion::observed::REVISION;
use crate::turnregion::validate::ManagedRegion;

/// Longer than the drain itself, so that the node ends by itself and says so, and is not killed.
const GRACE_BEYOND_DRAIN: u64 = 15;
/// How long a relay stays bound to a machine that is not reachable. Kubernetes' own default is five minutes, more than
/// the month's whole budget.
const UNREACHABLE_SECONDS: i64 = 30;

/// Hash of the template and of the configuration that goes with it.
pub fn revision(region: &ManagedRegion, image: &str, turn_yaml: &str) -> String {
    let template = deployment(region, image, "", "").spec.map(|spec| spec.template);
    short_hash(&[&serde_json::to_string(&template).unwrap_or_default(), turn_yaml])
}

/// Slot 0's Deployment.
pub fn deployment(region: &ManagedRegion, image: &str, turn_config: &str, revision: &str) -> Deployment {
    let first = Deployment {
        metadata: meta(&region.identity, String::new()),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            // No surge: the ports are the machine's, so two generations cannot run side by side there. Not Recreate, which
            // also waits for pods that are ending on machines that are drained, or gone for good.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
            }),
            revision_history_limit: Some(1),
            selector: LabelSelector { match_labels: Some(selector(&region.identity)), ..LabelSelector::default() },
            template: template(region, image, turn_config, revision),
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    of_slot(&first, region, 0)
}

/// The same with another slot's name, labels and selector.
pub fn of_slot(first: &Deployment, region: &ManagedRegion, slot: u32) -> Deployment {
    let mut deployment = first.clone();
    deployment.metadata.name = Some(format!("{}-{slot}", region.identity.name));
    let label = |labels: &mut Option<std::collections::BTreeMap<String, String>>| {
        labels.get_or_insert_default().insert(labels::SLOT.to_owned(), slot.to_string());
    };
    label(&mut deployment.metadata.labels);
    if let Some(spec) = &mut deployment.spec {
        label(&mut spec.selector.match_labels);
        label(&mut spec.template.metadata.get_or_insert_default().labels);
    }
    deployment
}

fn template(region: &ManagedRegion, image: &str, turn_config: &str, revision: &str) -> PodTemplateSpec {
    let mut pod_labels = region.template.labels.clone();
    pod_labels.extend(region_labels(&region.identity));
    let mut annotations = region.template.annotations.clone();
    annotations.insert(REVISION.to_owned(), revision.to_owned());
    annotations.insert(REGION_UID.to_owned(), region.identity.uid.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(region, image, turn_config)),
    }
}

fn pod(region: &ManagedRegion, image: &str, turn_config: &str) -> PodSpec {
    let mut node_selector = region.placement.node_selector.clone();
    node_selector.insert(labels::REGION.to_owned(), region.region.clone());
    let as_root = region.listeners.has_privileged_port();
    PodSpec {
        host_network: Some(true),
        // A relay resolves no names of the cluster.
        dns_policy: Some("Default".into()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        node_selector: Some(node_selector),
        tolerations: Some(tolerations(region)),
        affinity: region.placement.affinity.clone(),
        priority_class_name: region.placement.priority_class_name.clone(),
        topology_spread_constraints: Some(vec![spread(region)]),
        termination_grace_period_seconds: i64::try_from(region.eviction_drain.as_secs() + GRACE_BEYOND_DRAIN).ok(),
        security_context: Some(security_context(if as_root { ROOT } else { USER })),
        image_pull_secrets: pull_secrets(&region.template.image_pull_secrets),
        containers: vec![container(region, image)],
        volumes: Some(volumes(region, turn_config)),
        ..PodSpec::default()
    }
}

fn volumes(region: &ManagedRegion, turn_config: &str) -> Vec<Volume> {
    let mut volumes = vec![
        config_volume("turn", turn_config),
        config_volume("machines", &format!("{}-machines", region.identity.name)),
        config_volume("limits", &limits::name(&region.identity)),
        secret_volume("auth", &region.secret.name),
        secret_volume("admin", &admin_secret_name(&region.identity)),
    ];
    volumes.extend(region.listeners.certificate().map(|secret| secret_volume("tls", secret)));
    volumes
}

/// A port below 1024 on the machine's network cannot be had otherwise: `net.ipv4.ip_unprivileged_port_start` is the
/// machine's there and refused in a pod, and capabilities of a container reach no process of another user than root.
/// So the node begins as root without root's rights, opens its listeners, and is nobody from then on (`--run-as`).
fn capabilities(region: &ManagedRegion) -> Capabilities {
    let added = region.listeners.has_privileged_port().then(|| {
        vec![
            "NET_BIND_SERVICE".to_owned(), // opens the listeners below 1024
            "SETUID".to_owned(),           // gives up root afterwards, and with it both of these
        ]
    });
    Capabilities { drop: Some(vec!["ALL".into()]), add: added }
}

fn container(region: &ManagedRegion, image: &str) -> Container {
    let mut args = vec![
        "turn".to_owned(),
        format!("--config={TURN_FOLDER}/{TURN_FILE}"),
        format!("--metrics-address=$(HOST_IP):{METRICS_PORT}"),
        format!("--admin-address=$(HOST_IP):{ADMIN_PORT}"),
        "--log-format=json".to_owned(),
    ];
    args.extend(region.listeners.has_privileged_port().then(|| format!("--run-as={USER}")));
    let mut mounts = vec![
        mount("turn", TURN_FOLDER),
        mount("machines", MACHINES_FOLDER),
        mount("limits", LIMITS_FOLDER),
        mount("auth", AUTH_FOLDER),
        mount("admin", admin_port::FOLDER),
    ];
    // Folders and no files of them: the kubelet brings what changed, which the node takes up without a restart.
    mounts.extend(region.listeners.certificate().map(|_| mount("tls", TLS_FOLDER)));
    Container {
        name: "turn".into(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(args),
        env: Some(vec![field("NODE_NAME", "spec.nodeName"), field("HOST_IP", "status.hostIP")]),
        ports: Some(ports(region)),
        resources: region.template.resources.clone(),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(capabilities(region)),
            ..SecurityContext::default()
        }),
        // A relay that waits for its addresses or its Secret is alive: only readiness waits.
        // One whose loops stand still would not end a drain either: it is not waited for.
        liveness_probe: Some(Probe {
            initial_delay_seconds: Some(5),
            termination_grace_period_seconds: Some(10),
            ..probe("/healthz", 10, 3)
        }),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// Only the fixed ports: they are host ports, and so keep a second relay off the machine. The relay range stays undeclared.
fn ports(region: &ManagedRegion) -> Vec<ContainerPort> {
    let port = |name: String, protocol: &str, number: u16| ContainerPort {
        name: Some(name),
        protocol: Some(protocol.into()),
        container_port: number.into(),
        host_port: Some(number.into()),
        ..ContainerPort::default()
    };
    let mut ports: Vec<ContainerPort> = region
        .listeners
        .ports()
        .iter()
        .map(|one| {
            let name = format!("{}-{}", one.protocol.text().to_lowercase(), one.port);
            port(name, if one.protocol == Protocol::Udp { "UDP" } else { "TCP" }, one.port)
        })
        .collect();
    ports.push(port("admin".into(), "TCP", ADMIN_PORT));
    ports.push(port("metrics".into(), "TCP", METRICS_PORT));
    ports
}

fn tolerations(region: &ManagedRegion) -> Vec<Toleration> {
    let mut tolerations = region.placement.tolerations.clone();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|written| written.key.as_deref() == Some(key)) {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(UNREACHABLE_SECONDS),
                value: None,
            });
        }
    }
    tolerations
}

fn spread(region: &ManagedRegion) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: "topology.kubernetes.io/zone".into(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(&region.identity)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}
