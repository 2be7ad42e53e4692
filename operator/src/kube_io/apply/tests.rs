use super::*;
use crate::kube_io::testing::{Scenario, answer, refusal};
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus},
    core::v1::ConfigMap,
};

fn config(text: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": "centralindia-turn", "namespace": "media", "labels": {"a": "b"}},
        "data": {"turn.yaml": text},
    }))
    .unwrap()
}

fn api(client: kube::Client) -> Api<ConfigMap> {
    Api::namespaced(client, "media")
}

/// What the API server has stored of an apply.
fn stored(applied: &Value) -> ConfigMap {
    at_version("7", applied)
}

/// What it answers to an apply that changes the stored object.
fn changed(applied: &Value) -> ConfigMap {
    at_version("8", applied)
}

fn at_version(version: &str, applied: &Value) -> ConfigMap {
    let mut object = applied.clone();
    object["metadata"]["uid"] = json!("u-1");
    object["metadata"]["resourceVersion"] = json!(version);
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn what_is_missing_is_applied_by_our_manager_and_by_force() {
    let (client, scenario) = Scenario::start(|request| {
        assert_eq!(request.method, "PATCH");
        assert_eq!(request.path, "/api/v1/namespaces/media/configmaps/centralindia-turn");
        assert!(request.query.contains("fieldManager=rtc-fleet-operator") && request.query.contains("force=true"));
        let body: Value = request.json();
        assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("v1"), &json!("ConfigMap")));
        answer(&stored(&body))
    });
    let written = apply(&api(client), &config("realm: a"), None).await.unwrap();
    assert!(matches!(written, Written::Created(_)), "{written:?}");
    scenario.expect_requests(1).await;
}

#[tokio::test]
async fn what_is_there_already_costs_no_request() {
    let live = stored(&with_hash(serde_json::to_value(config("realm: a")).unwrap()));
    let (client, scenario) = Scenario::start(|_| refusal(500, "InternalError"));
    let written = apply(&api(client), &config("realm: a"), Some(&live)).await.unwrap();
    assert_eq!(written, Written::Unchanged);
    scenario.expect_requests(0).await;
}

#[tokio::test]
async fn an_edit_by_others_is_put_back_and_named() {
    let mut live = stored(&with_hash(serde_json::to_value(config("realm: a")).unwrap()));
    live.data.as_mut().unwrap().insert("turn.yaml".into(), "realm: evil".into());
    let (client, scenario) = Scenario::start(|request| answer(&changed(&request.json())));
    match apply(&api(client), &config("realm: a"), Some(&live)).await.unwrap() {
        Written::Updated { object, field } => {
            assert_eq!(field, "data.turn.yaml");
            assert_eq!(object.data.unwrap()["turn.yaml"], "realm: a");
        }
        other => panic!("{other:?}"),
    }
    scenario.expect_requests(1).await;
}

#[tokio::test]
async fn an_apply_that_a_webhook_takes_back_is_no_change_to_come_back_for() {
    let mut live = stored(&with_hash(serde_json::to_value(config("realm: a")).unwrap()));
    live.data.as_mut().unwrap().insert("turn.yaml".into(), "realm: rewritten".into());
    let kept = live.clone();
    let (client, scenario) = Scenario::start(move |_| answer(&kept));
    assert_eq!(apply(&api(client), &config("realm: a"), Some(&live)).await.unwrap(), Written::Unchanged);
    scenario.expect_requests(1).await;
}

#[tokio::test]
async fn a_field_that_we_stopped_setting_is_written_so_that_it_goes() {
    let live = stored(&with_hash(serde_json::to_value(config("realm: a")).unwrap()));
    let mut less = config("realm: a");
    less.metadata.labels = None;
    let (client, scenario) = Scenario::start(|request| {
        let body: Value = request.json();
        assert_eq!(body["metadata"].get("labels"), None);
        answer(&changed(&body))
    });
    let written = apply(&api(client), &less, Some(&live)).await.unwrap();
    assert!(written.is_change());
    scenario.expect_requests(1).await;
}

#[tokio::test]
async fn a_refusal_names_the_object_and_the_server_s_words() {
    let (client, _scenario) = Scenario::start(|_| refusal(422, "Invalid"));
    let error = apply(&api(client), &config("realm: a"), None).await.unwrap_err();
    assert_eq!(error.to_string(), "apply ConfigMap media/centralindia-turn: refused: Invalid (422)");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_never_answers_costs_ten_seconds() {
    let (service, _handle) =
        tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
    let client = kube::Client::new(service, "default");
    let error = apply(&api(client), &config("realm: a"), None).await.unwrap_err();
    assert!(matches!(error, IoError::NoAnswer { waited: super::super::CALL_TIMEOUT, .. }), "{error}");
}

fn deployment() -> Deployment {
    serde_json::from_value(json!({"metadata": {"name": "a-0", "namespace": "media", "uid": "u-1"}})).unwrap()
}

fn status(ready: i32, at: &str) -> DeploymentStatus {
    serde_json::from_value(json!({
        "readyReplicas": ready,
        "conditions": [{"type": "Available", "status": "True", "lastTransitionTime": at}],
    }))
    .unwrap()
}

#[tokio::test]
async fn a_status_is_written_as_a_whole_for_this_very_object() {
    let (client, scenario) = Scenario::start(|request| {
        assert_eq!(request.path, "/apis/apps/v1/namespaces/media/deployments/a-0/status");
        let body: Value = request.json();
        assert_eq!(body["metadata"], json!({"name": "a-0", "uid": "u-1"}));
        assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("apps/v1"), &json!("Deployment")));
        assert_eq!(body["status"]["readyReplicas"], 2);
        answer(&deployment())
    });
    let api = Api::namespaced(client, "media");
    let before = status(1, "2026-01-01T12:00:00Z");
    let written = apply_status(&api, &deployment(), &status(2, "2026-01-01T12:00:00Z"), Some(&before)).await.unwrap();
    assert!(written);
    scenario.expect_requests(1).await;
}

#[tokio::test]
async fn a_status_that_says_the_same_at_another_time_is_not_written() {
    let (client, scenario) = Scenario::start(|_| refusal(500, "InternalError"));
    let api = Api::namespaced(client, "media");
    let before = status(2, "2026-01-01T12:00:00Z");
    let written = apply_status(&api, &deployment(), &status(2, "2026-01-01T12:09:00Z"), Some(&before)).await.unwrap();
    assert!(!written);
    scenario.expect_requests(0).await;
}

#[tokio::test]
async fn who_creates_second_learns_so_and_changes_nothing() {
    let (client, scenario) = Scenario::start(|request| {
        assert_eq!(request.method, "POST");
        refusal(409, "AlreadyExists")
    });
    assert_eq!(create(&api(client), &config("realm: a")).await.unwrap(), None);
    scenario.expect_requests(1).await;
}
