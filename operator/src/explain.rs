//! `operator explain`: asks the replica that acts for its last decisions, from inside a pod or from a laptop.

mod text;

use std::{net::SocketAddr, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, Config};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    cli::{Explain, Output, Target},
    kube_io::{self, is_not_found},
    leader::holder_pod,
};

const WAIT: Duration = Duration::from_secs(5);
/// 32 decisions of a few hundred bytes each, and inputs of any sensible size.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

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
    #[error("nothing in {WAIT:?}")]
    Timeout,
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the port is not forwarded")]
    NotForwarded,
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it answered something else than decisions")]
    Unreadable(#[source] serde_json::Error),
    #[error("the question cannot be written")]
    Request(#[source] http::Error),
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
    let connection = tokio::time::timeout(WAIT, TcpStream::connect(address)).await.map_err(|_| AskError::Timeout)?;
    ask(connection.map_err(AskError::Connect)?, path).await
}

async fn ask_leader(config: Config, args: &Explain, path: &str) -> Result<Explanation, ExplainError> {
    let namespace = &args.operator_namespace;
    let client = Client::try_from(kube_io::config(config))
        .map_err(|source| ExplainError::NoCluster { namespace: namespace.clone(), source })?;
    let pod = leader(client.clone(), namespace, &args.lease_name).await?;
    let port = args.decisions_address.port();
    let mut forward = Api::<Pod>::namespaced(client, namespace).portforward(&pod, &[port]).await.map_err(|source| {
        ExplainError::NoForward { namespace: namespace.clone(), pod: pod.clone(), source: source.into() }
    })?;
    let answer = match forward.take_stream(port) {
        Some(stream) => ask(stream, path).await,
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
async fn leader(client: Client, namespace: &str, name: &str) -> Result<String, ExplainError> {
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

async fn ask<S>(stream: S, path: &str) -> Result<Explanation, AskError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    tokio::time::timeout(WAIT, exchange(stream, path)).await.unwrap_or(Err(AskError::Timeout))
}

async fn exchange<S>(stream: S, path: &str) -> Result<Explanation, AskError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
    let request = Request::get(path)
        .header(http::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(AskError::Request)?;
    let question = async move {
        let answer = sender.send_request(request).await.map_err(AskError::Broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(AskError::Body)?;
        Ok::<_, AskError>((status, body.to_bytes()))
    };
    let (status, body) = tokio::select! {
        biased;
        answer = question => answer?,
        Err(error) = connection => return Err(AskError::Broken(error)),
    };
    if !status.is_success() {
        return Err(AskError::Status(status));
    }
    serde_json::from_slice(&body).map_err(AskError::Unreadable)
}

#[cfg(test)]
mod tests;
