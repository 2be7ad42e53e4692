//! A namespace for one scenario.

use std::panic::AssertUnwindSafe;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use crate::{cluster, diagnostics};

/// Runs a scenario in a new namespace `e2e-<topic>-<random>` and deletes that in every case. When the scenario fails
/// or panics, first prints what a person needs to find out why. With `E2E_KEEP=1` the namespace of a failed scenario
/// stays.
pub async fn with<Scenario>(topic: &str, scenario: Scenario) -> Result<()>
where
    Scenario: AsyncFnOnce(Client, &str) -> Result<()>,
{
    let client = cluster::client().await?;
    let name = create(&client, topic).await?;
    let outcome = AssertUnwindSafe(scenario(client.clone(), &name)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|panic| Err(anyhow!("{}", message(panic.as_ref()))));
    if outcome.is_err() {
        eprintln!("{}", diagnostics::of_namespace(&client, &name).await);
        if std::env::var_os("E2E_KEEP").is_some() {
            eprintln!("namespace {name} is kept, because of E2E_KEEP");
            return outcome;
        }
    }
    let deleted = delete(&client, &name).await;
    outcome.and(deleted)
}

/// Deletes a namespace without waiting for its end.
pub async fn delete(client: &Client, name: &str) -> Result<()> {
    let deleted = Api::<Namespace>::all(client.clone()).delete(name, &DeleteParams::background()).await;
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()).with_context(|| format!("namespace {name} cannot be deleted")),
    }
}

/// Media nodes use the machine's network, which the stricter pod security levels refuse.
async fn create(client: &Client, topic: &str) -> Result<String> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            generate_name: Some(format!("e2e-{topic}-")),
            labels: Some(
                [
                    ("app.kubernetes.io/part-of".to_owned(), "rtc-fleet-e2e".to_owned()),
                    ("pod-security.kubernetes.io/enforce".to_owned(), "privileged".to_owned()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let created = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
    created.with_context(|| format!("no namespace for {topic}"))?.metadata.name.context("a created object has a name")
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the scenario panicked").to_owned()
}
