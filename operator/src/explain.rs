//! `operator explain`: asks the replica that acts for its last decisions, from inside a pod or from a laptop.

mod text;

use std::net::SocketAddr;

use http::StatusCode;
use hyper::body::Bytes;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, Config};
use serde::Deserialize;

use crate::{
    cli::{Explain, Output, Target},
    http_get::{self, GetError},
    kube_io::{self, is_not_found},
    leader::holder_pod,
};

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(
        "no cluster: set KUBECONFIG, or run inside of the operator's pod: kubectl exec -n {namespace} deploy/rtc-fleet-operator -- /operator explain …"
    )]
    NoCluster { namespace: String, source: kube::Error },
    #[error("no cluster configuration: set KUBECONFIG")]
    NoConfig(#[source] kube::config::InferConfigError),
    #[error(
        "no Lease {namespace}/{name}: is the operator installed there? --operator-namespace says where, --lease-name which"
    )]
    NoLease { namespace: String, name: String },
    #[error("Lease {namespace}/{name} cannot be read: your account needs get on leases in namespace {namespace}")]
    LeaseUnreadable { namespace: String, name: String, source: Box<kube::Error> },
    #[error(
        "no replica of the operator acts at the moment: look at kubectl get pods -n {namespace}, and try again in 15 s"
    )]
    NoLeader { namespace: String },
    #[error(
        "pod {namespace}/{pod} holds the lease but cannot be reached through the API server: your account needs create on pods/portforward there; otherwise: kubectl exec -n {namespace} {pod} -- /operator explain …"
    )]
    NoForward { namespace: String, pod: String, source: Box<kube::Error> },
    #[error(
        "pod {namespace}/{pod} holds the lease but does not answer on port {port}: does its --decisions-address name another? Try again in 15 s if it has just ended"
    )]
    NoAnswer {
        namespace: String,
        pod: String,
        port: u16,
        #[source]
        source: AskError,
    },
    #[error("the leader changes at the moment: try again in 15 s")]
    Changing,
}

/// Why one question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Get(#[from] GetError),
    #[error("the port is not forwarded")]
    NotForwarded,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it answered something else than decisions")]
    Unreadable(#[source] serde_json::Error),
}

/// The answer, as far as it is read here; see `admin::Explanation`.
#[derive(Debug, Deserialize)]
struct Explanation {
    leader: bool,
    decisions: Vec<serde_json::Value>,
}

/// What to print.
pub async fn explain(args: Explain) -> Result<String, ExplainError> {
    let config = Config::infer().await.map_err(ExplainError::NoConfig)?;
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let path = format!("/decisions/{}/{namespace}/{}", args.target.kind, args.target.name);
    let found = match ask_own_pod(&args, &path).await {
        Some(found) => found,
        None => ask_leader(config, &args, &path).await?,
    };
    Ok(print(&args.target, &namespace, args.output, &found.decisions))
}

fn print(target: &Target, namespace: &str, output: Output, decisions: &[serde_json::Value]) -> String {
    match output {
        Output::Json => {
            let mut json = serde_json::to_string_pretty(decisions).unwrap_or_default();
            json.push('\n');
            json
        }
        Output::Text => text::render(target, namespace, decisions),
    }
}

/// Inside of an operator's pod: this replica's answer, if it is the one that acts.
async fn ask_own_pod(args: &Explain, path: &str) -> Option<Explanation> {
    args.pod_name.as_ref()?;
    let answer = ask_address(args.decisions_address, path).await;
    answer.ok().filter(|answer| answer.leader)
}

async fn ask_address(address: SocketAddr, path: &str) -> Result<Explanation, AskError> {
    read(http_get::from_address(address, path).await?)
}

async fn ask_leader(config: Config, args: &Explain, path: &str) -> Result<Explanation, ExplainError> {
    let namespace = &args.operator_namespace;
    let client = Client::try_from(kube_io::config(config))
        .map_err(|source| ExplainError::NoCluster { namespace: namespace.clone(), source })?;
    let pod = leader(client.clone(), namespace, &args.lease_name).await?;
    let port = args.decisions_address.port();
    let pods = Api::<Pod>::namespaced(client, namespace);
    let mut forward = pods.portforward(&pod, &[port]).await.map_err(|source| match source {
        gone if is_not_found(&gone) => ExplainError::Changing,
        source => ExplainError::NoForward { namespace: namespace.clone(), pod: pod.clone(), source: Box::new(source) },
    })?;
    let answer = match forward.take_stream(port) {
        Some(stream) => http_get::over(stream, path).await.map_err(AskError::Get).and_then(read),
        None => Err(AskError::NotForwarded),
    };
    forward.abort();
    let answer = answer.map_err(|source| ExplainError::NoAnswer {
        namespace: namespace.clone(),
        pod: pod.clone(),
        port,
        source,
    })?;
    if answer.leader { Ok(answer) } else { Err(ExplainError::Changing) }
}

/// The pod that holds the lease.
pub(crate) async fn leader(client: Client, namespace: &str, name: &str) -> Result<String, ExplainError> {
    let lease = Api::<Lease>::namespaced(client, namespace).get(name).await.map_err(|source| {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        if is_not_found(&source) {
            ExplainError::NoLease { namespace, name }
        } else {
            ExplainError::LeaseUnreadable { namespace, name, source: Box::new(source) }
        }
    })?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
    let holder = holder.ok_or_else(|| ExplainError::NoLeader { namespace: namespace.to_owned() })?;
    Ok(holder_pod(&holder).to_owned())
}

fn read((status, body): (StatusCode, Bytes)) -> Result<Explanation, AskError> {
    if !status.is_success() {
        return Err(AskError::Status(status));
    }
    serde_json::from_slice(&body).map_err(AskError::Unreadable)
}

#[cfg(test)]
mod tests;
