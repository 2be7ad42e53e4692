//! The cluster's own networks: peers that relays refuse unless a region opens them (R1.5).
//!
//! Read once, when a replica begins to lead. They are part of what nodes run, so they must not change with the machines that
//! come and go, nor with an API server that is late.

use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Api, Client, api::ListParams};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    decisions::ObjectRef,
    error::{Category, with_causes},
    kube_io::{self, IoError},
};

/// An API server that starts refuses for seconds what it grants afterwards. After this long the right is really missing.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// Those that somebody wrote, and the Services' as the API server knows them: sorted, none inside of another.
pub async fn known(client: &Client, written: &[IpNet], backoff: &Backoff) -> Vec<IpNet> {
    let services = ObjectRef::new("ServiceCIDR", "", "");
    let began = Instant::now();
    let found = loop {
        let error = match of_services(client, services.clone()).await {
            Ok(found) => break found,
            Err(error) => error,
        };
        let why = with_causes(&error);
        if is_forbidden(&error) && began.elapsed() >= REFUSED_FOR {
            tracing::warn!(
                error = why,
                "the networks of Services are not known to be denied as peers: give the operator the right to list servicecidrs (the chart has it), and restart it"
            );
            break Vec::new();
        }
        // Acting without them would exchange nodes now, and back again at the next start.
        let wait = backoff.next(&services, Category::Retry).min(REFUSED_FOR / 4);
        tracing::warn!(error = why, ?wait, "the networks of Services cannot be read, and are tried again");
        tokio::time::sleep(wait).await;
    };
    backoff.forget(&services);
    let all: Vec<IpNet> = written.iter().chain(&found).map(IpNet::trunc).collect();
    let all = IpNet::aggregate(&all);
    tracing::info!(networks = ?all, "networks of the cluster that relays refuse as peers unless a region opens them");
    all
}

/// None from an API server that does not serve them (before Kubernetes 1.33).
async fn of_services(client: &Client, object: ObjectRef) -> Result<Vec<IpNet>, IoError> {
    let api = Api::<ServiceCIDR>::all(client.clone());
    match kube_io::call("list", object, api.list(&ListParams::default())).await {
        Ok(list) => {
            let cidrs = list.into_iter().filter_map(|one| one.spec?.cidrs).flatten();
            Ok(cidrs.filter_map(|cidr| cidr.parse().ok()).collect())
        }
        Err(error) if error.api().is_some_and(kube_io::is_not_found) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_forbidden(error: &IoError) -> bool {
    matches!(error.api(), Some(kube::Error::Api(status)) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_io::testing::{Scenario, answer, refusal};
    use serde_json::json;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn written_networks_and_those_of_services_are_known_once_whatever_their_order() {
        let (client, scenario) = Scenario::start(|request| {
            assert_eq!(request.path, "/apis/networking.k8s.io/v1/servicecidrs");
            let one = |name: &str, cidrs: &[&str]| json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
            let items = [one("kubernetes", &["34.118.224.0/20", "fd00:1::/112"]), one("more", &["10.96.0.0/12"])];
            answer(&json!({"metadata": {}, "items": items}))
        });
        let written = networks(&["198.51.100.7/24", "34.118.225.0/24"]);
        let found = known(&client, &written, &Backoff::new(1)).await;
        assert_eq!(found, networks(&["10.96.0.0/12", "34.118.224.0/20", "198.51.100.0/24", "fd00:1::/112"]));
        scenario.expect_requests(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_serve_them_is_asked_once() {
        let (client, scenario) = Scenario::start(|_| refusal(404, "NotFound"));
        assert_eq!(
            known(&client, &networks(&["198.51.100.0/24"]), &Backoff::new(1)).await,
            networks(&["198.51.100.0/24"])
        );
        scenario.expect_requests(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_late_is_waited_for_longer_than_one_that_refuses() {
        let mut asked = 0;
        let (client, _scenario) = Scenario::start(move |_| {
            asked += 1;
            if asked <= 20 { refusal(503, "ServiceUnavailable") } else { answer(&json!({"metadata": {}, "items": []})) }
        });
        let began = Instant::now();
        assert_eq!(known(&client, &[], &Backoff::new(1)).await, []);
        assert!(began.elapsed() > REFUSED_FOR, "{:?}", began.elapsed());

        let (client, _scenario) = Scenario::start(|_| refusal(403, "Forbidden"));
        let began = Instant::now();
        assert_eq!(known(&client, &[], &Backoff::new(1)).await, []);
        assert!((REFUSED_FOR..REFUSED_FOR * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
