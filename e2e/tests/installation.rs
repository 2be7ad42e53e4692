//! The chart as `make up` has installed it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    cluster,
    command::{self, kubectl},
    operator::{self, NAMESPACE},
};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    flowcontrol::v1::PriorityLevelConfiguration,
};
use kube::{Api, ResourceExt, api::PostParams, client::Body};

const ACCOUNT: &str = "system:serviceaccount:rtc-fleet-system:rtc-fleet-operator";

#[tokio::test]
async fn helm_test_finds_the_installation_in_working_order() -> Result<()> {
    let kubeconfig = cluster::kubeconfig()?;
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is text")?;
    let arguments = ["test", "rtc-fleet", "-n", NAMESPACE, "--kubeconfig", kubeconfig, "--logs", "--timeout", "2m"];
    let said = command::run(cluster::helm(), &arguments, Duration::from_mins(3)).await?;
    ensure!(said.contains("turnregions.rtcfleet.dev is established") && said.contains("leads and is ready"), "{said}");
    Ok(())
}

#[tokio::test]
async fn two_operators_run_on_two_machines() -> Result<()> {
    let client = cluster::client().await?;
    operator::is_installed(&client).await?;
    let pods = operator::pods(&client).await?;
    let machines: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    let different: BTreeSet<_> = machines.iter().collect();
    ensure!(machines.len() == 2 && different.len() == 2, "{machines:?}");
    Ok(())
}

#[tokio::test]
async fn the_operators_namespace_could_enforce_pod_security_level_restricted() -> Result<()> {
    let level = "pod-security.kubernetes.io/enforce=restricted";
    let labelled = kubectl(&["label", "--dry-run=server", "--overwrite", "namespace", NAMESPACE, level], "").await?;
    // The API server warns about every pod that is there and would be refused.
    ensure!(labelled.succeeded() && labelled.stderr.is_empty(), "{}", labelled.stderr);
    Ok(())
}

/// The API server says in its answers by which priority level it served.
#[tokio::test]
async fn the_operators_lease_is_served_at_the_priority_level_of_leader_elections() -> Result<()> {
    let client = cluster::client().await?;
    let levels = Api::<PriorityLevelConfiguration>::all(client.clone());
    let wanted = levels.get("leader-election").await?.uid().context("a uid")?;
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/rtc-fleet-operator");
    let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/rtc-fleet-admin-ca");
    for (what, path, expected) in [("its Lease", lease, true), ("anything else", secret, false)] {
        let request = http::Request::get(&path).header("Impersonate-User", ACCOUNT).body(Body::empty())?;
        let answer = client.send(request).await?;
        ensure!(answer.status().is_success(), "{what}: {}", answer.status());
        let level = answer.headers().get("x-kubernetes-pf-prioritylevel-uid").context("no priority level is told")?;
        ensure!((level.to_str()? == wanted) == expected, "{what}: {level:?}, and leader-election is {wanted}");
    }
    Ok(())
}

#[tokio::test]
async fn the_operator_has_the_rights_it_needs_and_none_of_those_that_harm() -> Result<()> {
    let reviews = Api::<SubjectAccessReview>::all(cluster::client().await?);
    for (case, verb, group, resource, namespace, expected) in [
        ("it sees every fleet", "watch", "rtcfleet.dev", "turnregions", "", true),
        ("it writes a fleet's status", "patch", "rtcfleet.dev", "turnregions/status", "rtc", true),
        ("it makes slots", "patch", "apps", "deployments", "rtc", true),
        ("it reads a Secret that it knows by name", "get", "", "secrets", "rtc", true),
        ("it takes its Lease", "create", "coordination.k8s.io", "leases", NAMESPACE, true),
        ("it never writes what users want", "patch", "rtcfleet.dev", "turnregions", "rtc", false),
        ("it never deletes a fleet", "delete", "rtcfleet.dev", "turnregions", "rtc", false),
        ("it cannot list Secrets", "list", "", "secrets", "rtc", false),
        ("it cannot list Secrets beside it", "list", "", "secrets", NAMESPACE, false),
        ("it kills no pod", "delete", "", "pods", "rtc", false),
        ("it starts nothing in a pod", "create", "", "pods/exec", "rtc", false),
        ("it changes no machine", "patch", "", "nodes", "", false),
        ("it gives nobody rights", "create", "rbac.authorization.k8s.io", "rolebindings", "rtc", false),
        ("it takes no other Lease", "update", "coordination.k8s.io", "leases", "kube-system", false),
        ("it sees whether a machine is cut off", "get", "coordination.k8s.io", "leases", "kube-node-lease", true),
        (
            "it says for no machine that it is alive",
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-node-lease",
            false,
        ),
    ] {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let asked = ResourceAttributes {
            verb: Some(verb.into()),
            group: Some(group.into()),
            resource: Some(resource.into()),
            subresource: Some(subresource.into()),
            namespace: Some(namespace.into()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(ACCOUNT.into()),
                resource_attributes: Some(asked),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?.status.context("an answer")?;
        ensure!(answer.allowed == expected, "{case}: {verb} {resource}: allowed is {}", answer.allowed);
    }
    Ok(())
}
