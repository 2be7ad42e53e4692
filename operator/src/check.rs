//! `operator check`: is this installation in working order? For `helm test`, and for people.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::{
    api::core::v1::Pod, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    runtime::{conditions::is_crd_established, wait::Condition as _},
};
use tokio::time::{Instant, sleep};

use crate::{
    cli::Check,
    error::with_causes,
    explain::{self, ExplainError},
    http_get::{self, GetError},
    kube_io::{self, IoError},
    run::CRDS,
};

/// Between two looks at a replica that is about to lead.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("no cluster: neither in a pod nor with a kubeconfig; set KUBECONFIG")]
    NoConfig(#[source] kube::config::InferConfigError),
    #[error("the client for the API server cannot be made")]
    Client(#[source] kube::Error),
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(
        "CustomResourceDefinition {0} is not established: install it with the chart (crds.install: true), or kubectl apply -f crds/generated/"
    )]
    NotEstablished(&'static str),
    #[error(transparent)]
    NoLeader(#[from] ExplainError),
    #[error(
        "pod {namespace}/{pod} holds the lease but is gone: a standby takes over within 15 s where there is one, look at kubectl get pods -n {namespace}"
    )]
    LeaderGone { namespace: String, pod: String },
    #[error("pod {namespace}/{pod} holds the lease but does not answer at {address}")]
    Silent { namespace: String, pod: String, address: SocketAddr, source: GetError },
    #[error("pod {namespace}/{pod} leads but is not ready: {missing}")]
    NotReady { namespace: String, pod: String, missing: String },
}

impl CheckError {
    /// So it is for a moment while one replica leads after another, or the first one has yet to make the Lease.
    fn passes(&self) -> bool {
        match self {
            Self::NoLeader(error) => matches!(error, ExplainError::NoLease { .. } | ExplainError::NoLeader { .. }),
            Self::LeaderGone { .. } | Self::Silent { .. } | Self::NotReady { .. } => true,
            Self::NoConfig(_) | Self::Client(_) | Self::Io(_) | Self::NotEstablished(_) => false,
        }
    }
}

/// What was found to be well, a line each; or the first thing that is not.
pub async fn check(args: Check) -> Result<String, CheckError> {
    let config = Config::infer().await.map_err(CheckError::NoConfig)?;
    let client = Client::try_from(kube_io::config(config)).map_err(CheckError::Client)?;
    patient(Duration::from_secs(args.wait), async || look(client.clone(), &args).await).await
}

/// Looks again at what passes, for so long.
async fn patient<Look>(wait: Duration, mut look: Look) -> Result<String, CheckError>
where
    Look: AsyncFnMut() -> Result<String, CheckError>,
{
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match look().await {
            Err(error) if error.passes() && began.elapsed() < wait => {
                if !is_told {
                    eprintln!("operator check: {}: looking again for {wait:?}", with_causes(&error));
                    is_told = true;
                }
                sleep(LOOK).await;
            }
            found => return found,
        }
    }
}

async fn look(client: Client, args: &Check) -> Result<String, CheckError> {
    let mut found = Vec::new();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for name in CRDS {
        if !is_crd_established().matches_object(kube_io::get(&definitions, name).await?.as_ref()) {
            return Err(CheckError::NotEstablished(name));
        }
        found.push(format!("{name} is established\n"));
    }
    let namespace = args.operator_namespace.clone();
    let pod = explain::leader(client.clone(), &namespace, &args.lease_name).await?;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let ip = kube_io::get(&pods, &pod).await?.and_then(|pod| pod.status?.pod_ip?.parse::<IpAddr>().ok());
    let Some(ip) = ip else { return Err(CheckError::LeaderGone { namespace, pod }) };
    let address = SocketAddr::new(ip, args.admin_port);
    match http_get::from_address(address, "/readyz").await {
        Ok((StatusCode::OK, _)) => {
            found.push(format!("pod {namespace}/{pod} leads and is ready\n"));
            Ok(found.concat())
        }
        Ok((_, body)) => {
            let missing = String::from_utf8_lossy(&body).trim().to_owned();
            Err(CheckError::NotReady { namespace, pod, missing })
        }
        Err(source) => Err(CheckError::Silent { namespace, pod, address, source }),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use serde_json::{Value, json};

    use super::*;
    use crate::kube_io::testing::{Scenario, answer, refusal};

    /// An operator's public port that answers `/readyz` so.
    async fn operator(code: StatusCode, body: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/readyz", get(move || async move { (code, body) }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    /// A cluster whose CRD has this condition, whose Lease has this holder, and whose leader has this address.
    async fn checked(established: &str, holder: &str, ip: Option<&str>, admin_port: u16) -> Result<String, String> {
        let crd = json!({
            "metadata": {"name": "any"},
            "spec": {"group": "g", "names": {"kind": "k", "plural": "p"}, "scope": "Namespaced", "versions": []},
            "status": {"conditions": [{"type": "Established", "status": established}]},
        });
        let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder}});
        let pod = ip.map(|ip| json!({"metadata": {"name": "a"}, "status": {"podIP": ip}}));
        let (client, _scenario) = Scenario::start(move |request| {
            let known: [(&str, Option<&Value>); 3] =
                [("/customresourcedefinitions/", Some(&crd)), ("/leases/", Some(&lease)), ("/pods/", pod.as_ref())];
            let found = known.into_iter().find(|(path, _)| request.path.contains(path));
            found.and_then(|(_, object)| object).map_or_else(|| refusal(404, "NotFound"), answer)
        });
        let args = Check { operator_namespace: "ops".into(), lease_name: "l".into(), admin_port, wait: 0 };
        look(client, &args).await.map_err(|error| with_causes(&error))
    }

    #[tokio::test]
    async fn an_installation_in_working_order_is_told_line_by_line() {
        let port = operator(StatusCode::OK, "ok\n").await;
        let found = checked("True", "a_01", Some("127.0.0.1"), port).await.unwrap();
        let expected = "dnsfailovers.rtcfleet.dev is established\nturnregions.rtcfleet.dev is established\npod ops/a leads and is ready\n";
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn the_first_thing_that_is_not_well_is_told_with_its_remedy() {
        let ready = operator(StatusCode::OK, "ok\n").await;
        let waiting = operator(StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server\n").await;
        for (case, found, message) in [
            ("no CRD", checked("False", "a_01", Some("127.0.0.1"), ready).await, "is not established: install it"),
            ("no leader", checked("True", "", Some("127.0.0.1"), ready).await, "no replica of the operator acts"),
            ("a leader that is gone", checked("True", "a_01", None, ready).await, "holds the lease but is gone"),
            (
                "a leader that is not ready",
                checked("True", "a_01", Some("127.0.0.1"), waiting).await,
                "pod ops/a leads but is not ready: waiting for the API server",
            ),
            (
                "a leader that is silent",
                checked("True", "a_01", Some("127.0.0.1"), 1).await,
                "does not answer at 127.0.0.1:1: no connection",
            ),
        ] {
            let said = found.unwrap_err();
            assert!(said.contains(message), "{case}: {said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_replica_leads_after_another_it_looks_again_for_a_while() {
        let nobody = || CheckError::NoLeader(ExplainError::NoLeader { namespace: "ops".into() });
        let wait = Duration::from_secs(30);
        let mut looks = 0;
        let found = patient(wait, async || {
            looks += 1;
            if looks < 10 { Err(nobody()) } else { Ok("well".to_owned()) }
        });
        assert_eq!(found.await.unwrap(), "well");

        let began = Instant::now();
        patient(wait, async || Err(nobody())).await.unwrap_err();
        assert_eq!(began.elapsed(), wait);

        let mut looks = 0;
        let found = patient(wait, async || {
            looks += 1;
            Err(CheckError::NotEstablished("turnregions"))
        });
        found.await.unwrap_err();
        assert_eq!(looks, 1, "what does not pass is told at once");
    }
}
