use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    admin,
    decisions::{Decision, Decisions, ObjectRef},
    kube_io::testing::{Scenario, answer, refusal},
    leader::{Fence, Leadership},
    metrics::Metrics,
};
use serde_json::json;

const PATH: &str = "/decisions/TurnRegion/media/centralindia";

/// A replica's loopback port, with one decision.
async fn replica(leads: bool) -> SocketAddr {
    let decisions = Decisions::new(Metrics::new());
    decisions.record(Decision {
        kind: "scale",
        reason: "LoadAboveTarget",
        object: ObjectRef::new("TurnRegion", "media", "centralindia"),
        slot: None,
        message: "from 2 to 3 slots".into(),
        inputs: json!({"sessions": 301}),
        at: "2026-01-01T12:00:00Z".parse().unwrap(),
    });
    let leadership = Leadership::default();
    if leads {
        let fence = Fence { holder: "operator-a_1".into(), transitions: 1 };
        leadership.set(Some((fence, std::time::Instant::now() + Duration::from_mins(1))));
    }
    let listener = admin::bind_loopback("--decisions-address", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(admin::serve(listener, admin::private(decisions, leadership)));
    address
}

fn args(address: SocketAddr, pod_name: Option<&str>) -> Explain {
    Explain {
        target: Target { kind: "TurnRegion", name: "centralindia".into() },
        namespace: Some("media".into()),
        output: Output::Text,
        operator_namespace: "rtc-fleet-system".into(),
        lease_name: "rtc-fleet-operator".into(),
        decisions_address: address,
        pod_name: pod_name.map(str::to_owned),
    }
}

#[tokio::test]
async fn the_acting_replica_answers_with_its_decisions_and_their_inputs() {
    let args = args(replica(true).await, Some("operator-a"));
    let found = ask_own_pod(&args, PATH).await.unwrap();
    let text = print(&args.target, "media", args.output, &found.decisions);
    assert_eq!(
        text,
        "TurnRegion media/centralindia\n\n\
         2026-01-01T12:00:00Z  scale: LoadAboveTarget\n  from 2 to 3 slots\n    sessions: 301\n"
    );
    let json = print(&args.target, "media", Output::Json, &found.decisions);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["inputs"]["sessions"], 301);
}

#[tokio::test]
async fn a_standby_s_own_answer_is_not_taken_and_outside_of_a_pod_loopback_is_not_asked() {
    let standby = args(replica(false).await, Some("operator-b"));
    assert!(ask_own_pod(&standby, PATH).await.is_none());
    let laptop = args(replica(true).await, None);
    assert!(ask_own_pod(&laptop, PATH).await.is_none());
}

#[tokio::test]
async fn the_leader_s_pod_is_found_by_the_lease() {
    let (client, _scenario) = Scenario::start(|request| {
        assert_eq!(request.path, "/apis/coordination.k8s.io/v1/namespaces/rtc-fleet-system/leases/rtc-fleet-operator");
        answer(&json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "operator-5d9-x2x_0000beef"}}))
    });
    assert_eq!(leader(client, "rtc-fleet-system", "rtc-fleet-operator").await.unwrap(), "operator-5d9-x2x");
}

#[tokio::test]
async fn each_way_of_finding_no_leader_says_what_to_do() {
    type Server = Arc<dyn Fn() -> http::Response<kube::client::Body> + Send + Sync>;
    let cases: [(&str, Server, &str); 3] = [
        ("not installed", Arc::new(|| refusal(404, "NotFound")), "is the operator installed there?"),
        ("no right", Arc::new(|| refusal(403, "Forbidden")), "your account needs get on leases"),
        (
            "nobody leads",
            Arc::new(|| answer(&json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": ""}}))),
            "kubectl get pods -n rtc-fleet-system",
        ),
    ];
    for (case, server, expected) in cases {
        let (client, _scenario) = Scenario::start(move |_| server());
        let error = leader(client, "rtc-fleet-system", "rtc-fleet-operator").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{case}: {error}");
    }
}
