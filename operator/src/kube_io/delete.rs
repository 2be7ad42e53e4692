//! Deleting exactly the object that was looked at.

use kube::{
    Api, Resource,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};
use serde::de::DeserializeOwned;

use super::{IoError, apply::identify, call, is_conflict, is_not_found};

/// What a delete found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is on its way out.
    Requested,
    /// It was gone, or somebody else deletes it.
    AlreadyGone,
    /// It is not what it was when it was decided about (another uid or resourceVersion): nothing was deleted, look again.
    Changed,
}

/// Deletes `seen` if it is still exactly what was seen; what it owns follows in the background.
pub async fn delete<K>(api: &Api<K>, seen: &K) -> Result<Deletion, IoError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let (name, object) = identify("delete", seen)?;
    let meta = seen.meta();
    if meta.deletion_timestamp.is_some() {
        return Ok(Deletion::AlreadyGone);
    }
    let (Some(uid), Some(resource_version)) = (meta.uid.clone(), meta.resource_version.clone()) else {
        return Err(IoError::Nameless { doing: "delete", kind: K::kind(&()).into_owned() });
    };
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: Some(resource_version) }),
        ..DeleteParams::default()
    };
    match call("delete", object, api.delete(&name, &params)).await {
        Ok(_) => Ok(Deletion::Requested),
        Err(error) if error.api().is_some_and(is_not_found) => Ok(Deletion::AlreadyGone),
        Err(error) if error.api().is_some_and(is_conflict) => Ok(Deletion::Changed),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_io::testing::{Scenario, answer, refusal};
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::{Value, json};

    fn seen() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "a-0", "namespace": "media", "uid": "u-1", "resourceVersion": "7"}
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_delete_carries_what_was_seen_as_its_precondition() {
        let (client, scenario) = Scenario::start(|request| {
            assert_eq!(request.method, "DELETE");
            assert_eq!(request.path, "/apis/apps/v1/namespaces/media/deployments/a-0");
            let body: Value = request.json();
            assert_eq!(body["preconditions"], json!({"uid": "u-1", "resourceVersion": "7"}));
            assert_eq!(body["propagationPolicy"], "Background");
            answer(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200}))
        });
        let outcome = delete(&Api::namespaced(client, "media"), &seen()).await.unwrap();
        assert_eq!(outcome, Deletion::Requested);
        scenario.expect_requests(1).await;
    }

    #[tokio::test]
    async fn an_object_that_changed_since_it_was_seen_is_left_alone() {
        let (client, _scenario) = Scenario::start(|_| refusal(409, "Conflict"));
        assert_eq!(delete(&Api::namespaced(client, "media"), &seen()).await.unwrap(), Deletion::Changed);
    }

    #[tokio::test]
    async fn an_object_that_is_gone_or_going_needs_no_second_delete() {
        let (client, _scenario) = Scenario::start(|_| refusal(404, "NotFound"));
        assert_eq!(delete(&Api::namespaced(client, "media"), &seen()).await.unwrap(), Deletion::AlreadyGone);

        let (client, scenario) = Scenario::start(|_| refusal(500, "InternalError"));
        let mut going = seen();
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(delete(&Api::namespaced(client, "media"), &going).await.unwrap(), Deletion::AlreadyGone);
        scenario.expect_requests(0).await;
    }
}
