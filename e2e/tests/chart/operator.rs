//! The operator's pods: restricted, apart from each other, and never all away at once.

use anyhow::{Context, Result, bail, ensure};
use e2e::operator::NAMESPACE;
use serde_json::{Value, json};

use crate::render::{objects, of_kind, only};

#[tokio::test]
async fn every_pod_of_the_chart_satisfies_pod_security_level_restricted() -> Result<()> {
    let objects = objects(&[]).await?;
    let deployment = only(&objects, "Deployment")?;
    let test = only(&objects, "Pod")?;
    for (name, pod) in [("operator", &deployment["spec"]["template"]["spec"]), ("helm test", &test["spec"])] {
        restricted(pod).with_context(|| name)?;
    }
    Ok(())
}

/// The controls of the level, and what we want besides: a read-only file system, a fixed user and a memory limit.
fn restricted(pod: &Value) -> Result<()> {
    let security = &pod["securityContext"];
    ensure!(security["runAsNonRoot"] == true && security["runAsUser"] == 65532, "{security}");
    ensure!(security["seccompProfile"]["type"] == "RuntimeDefault", "{security}");
    for shared in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        ensure!(pod[shared].is_null(), "{shared}");
    }
    let containers = pod["containers"].as_array().context("containers")?;
    ensure!(!containers.is_empty() && pod["initContainers"].is_null());
    for container in containers {
        let security = &container["securityContext"];
        ensure!(
            security["allowPrivilegeEscalation"] == false && security["readOnlyRootFilesystem"] == true,
            "{security}"
        );
        ensure!(security["capabilities"] == json!({"drop": ["ALL"]}), "{security}");
        ensure!(container["resources"]["limits"]["memory"].is_string(), "{container}");
        let ports = container["ports"].as_array().into_iter().flatten();
        ensure!(ports.into_iter().all(|port| port["hostPort"].is_null()), "{container}");
    }
    Ok(())
}

#[tokio::test]
async fn two_operators_stand_apart_where_that_can_be_had() -> Result<()> {
    let objects = objects(&[]).await?;
    let deployment = &only(&objects, "Deployment")?["spec"];
    ensure!(deployment["replicas"] == 2);
    let pod = &deployment["template"]["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let spread = pod["topologySpreadConstraints"].as_array().context("topologySpreadConstraints")?;
    for one in spread {
        ensure!(one["whenUnsatisfiable"] == "ScheduleAnyway", "{one}: one machine would hold no second operator");
        selects(&one["labelSelector"]["matchLabels"], labels)?;
    }
    ensure!(spread.iter().any(|one| one["topologyKey"] == "kubernetes.io/hostname"));
    let apart = &pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
    selects(&apart["podAffinityTerm"]["labelSelector"]["matchLabels"], labels)
}

#[tokio::test]
async fn a_running_standby_is_there_while_operators_are_exchanged_or_evicted() -> Result<()> {
    let objects = objects(&[]).await?;
    let deployment = &only(&objects, "Deployment")?["spec"];
    ensure!(deployment["strategy"]["rollingUpdate"] == json!({"maxSurge": 1, "maxUnavailable": 0}));
    let budget = &only(&objects, "PodDisruptionBudget")?["spec"];
    ensure!(budget["maxUnavailable"] == 1, "{budget}");
    for selector in [&budget["selector"]["matchLabels"], &deployment["selector"]["matchLabels"]] {
        selects(selector, &deployment["template"]["metadata"]["labels"])?;
    }
    Ok(())
}

#[tokio::test]
async fn only_the_operators_lease_is_served_before_others() -> Result<()> {
    let rendered = objects(&["serviceAccount.name=other"]).await?;
    let schema = &only(&rendered, "FlowSchema")?["spec"];
    ensure!(schema["priorityLevelConfiguration"]["name"] == "leader-election", "{schema}");
    let rules = schema["rules"].as_array().context("rules")?;
    let [rule] = rules.as_slice() else { bail!("{rules:?}") };
    let account = &rule["subjects"][0]["serviceAccount"];
    let pods = &only(&rendered, "Deployment")?["spec"]["template"]["spec"];
    ensure!(account["name"] == pods["serviceAccountName"] && account["namespace"] == NAMESPACE, "{account}");
    let requests = rule["resourceRules"].as_array().context("resource rules")?;
    let [of_leases] = requests.as_slice() else { bail!("{requests:?}") };
    let expected = json!({
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": [NAMESPACE],
        "verbs": ["get", "create", "update"],
    });
    ensure!(*of_leases == expected, "{of_leases}");
    ensure!(of_kind(&objects(&["flowSchema.enabled=false"]).await?, "FlowSchema").is_empty());
    Ok(())
}

#[tokio::test]
async fn services_and_monitors_select_the_operator_and_no_test_pod() -> Result<()> {
    let objects = objects(&["serviceMonitor.enabled=true", "networkPolicy.enabled=true"]).await?;
    let labels = &only(&objects, "Deployment")?["spec"]["template"]["metadata"]["labels"];
    let service = only(&objects, "Service")?;
    selects(&service["spec"]["selector"], labels)?;
    ensure!(service["spec"]["clusterIP"] == "None");
    let monitored = &only(&objects, "ServiceMonitor")?["spec"]["selector"]["matchLabels"];
    selects(monitored, &service["metadata"]["labels"])?;
    selects(&only(&objects, "NetworkPolicy")?["spec"]["podSelector"]["matchLabels"], labels)?;
    ensure!(selects(&service["spec"]["selector"], &only(&objects, "Pod")?["metadata"]["labels"]).is_err());
    Ok(())
}

#[tokio::test]
async fn the_operator_learns_who_and_where_it_is_and_which_image_nodes_run() -> Result<()> {
    let objects =
        objects(&["mediaNode.image.repository=registry.example.org/node", "mediaNode.image.tag=1.2.3"]).await?;
    let container = operator(&objects)?;
    let env = container["env"].as_array().context("env")?;
    let value = |name: &str| env.iter().find(|one| one["name"] == name).context(name.to_owned());
    for (name, field) in
        [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("POD_IP", "status.podIP")]
    {
        ensure!(value(name)?["valueFrom"]["fieldRef"]["fieldPath"] == field, "{name}");
    }
    ensure!(value("MEDIA_NODE_IMAGE")?["value"] == "registry.example.org/node:1.2.3");
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        ensure!(container[probe]["httpGet"] == json!({"path": path, "port": "http"}), "{}", container[probe]);
    }
    Ok(())
}

#[tokio::test]
async fn the_operator_learns_which_networks_are_the_clusters() -> Result<()> {
    ensure!(flags(&objects(&[]).await?, "--cluster-network=")?.is_empty());
    let written = objects(&["clusterNetworks={34.118.224.0/20,2600:1900::/48}"]).await?;
    let two = flags(&written, "--cluster-network=")?;
    ensure!(two == ["34.118.224.0/20", "2600:1900::/48"], "{two:?}");
    Ok(())
}

#[tokio::test]
async fn a_sovereign_cloud_is_told_to_the_operator() -> Result<()> {
    ensure!(flags(&objects(&[]).await?, "--azure-")?.is_empty(), "what the webhook says would be overruled");
    let (manager, authority) = ("https://management.usgovcloudapi.net", "https://login.microsoftonline.us");
    let values = [&*format!("azure.resourceManager={manager}"), &*format!("azure.authority={authority}")];
    let told = flags(&objects(&values).await?, "--azure-")?;
    ensure!(told == [format!("resource-manager={manager}"), format!("authority={authority}")], "{told:?}");
    Ok(())
}

/// What stands behind the prefix, of the operator's arguments that begin with it.
fn flags(objects: &[Value], prefix: &str) -> Result<Vec<String>> {
    let arguments = operator(objects)?["args"].as_array().context("args")?.clone();
    let arguments = arguments.iter().filter_map(Value::as_str);
    Ok(arguments.filter_map(|one| one.strip_prefix(prefix)).map(str::to_owned).collect())
}

/// The container of the operator's Deployment.
fn operator(objects: &[Value]) -> Result<&Value> {
    Ok(&only(objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0])
}

#[tokio::test]
async fn everything_in_a_namespace_is_in_the_releases() -> Result<()> {
    let objects = objects(&["serviceMonitor.enabled=true", "networkPolicy.enabled=true"]).await?;
    let cluster_wide = ["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "FlowSchema"];
    for object in objects.iter().filter(|object| !cluster_wide.iter().any(|kind| object["kind"] == *kind)) {
        // Kubelets' Leases stand in a namespace of their own.
        let reads_leases = object["metadata"]["name"] == "rtc-fleet-operator-machines";
        let expected = if reads_leases { "kube-node-lease" } else { NAMESPACE };
        ensure!(object["metadata"]["namespace"] == expected, "{object}");
    }
    ensure!(!of_kind(&objects, "NetworkPolicy").is_empty());
    Ok(())
}

fn selects(selector: &Value, labels: &Value) -> Result<()> {
    let wanted = selector.as_object().filter(|wanted| !wanted.is_empty()).context("a selector of everything")?;
    ensure!(wanted.iter().all(|(name, value)| labels[name] == *value), "{selector} does not select {labels}");
    Ok(())
}
