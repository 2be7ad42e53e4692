//! Waiting for something to become true, with a deadline and the last answer in the error.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, Resource, runtime::wait::await_condition};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};
use serde::de::DeserializeOwned;

/// Between two looks at what cannot be watched.
const LOOK: Duration = Duration::from_millis(200);

/// Looks until `look` gives `Ok`, at most for `limit`. An `Err` is what is still missing, in words.
pub async fn until<T, Look>(what: &str, limit: Duration, mut look: Look) -> Result<T>
where
    Look: AsyncFnMut() -> Result<T>,
{
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(LOOK), look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(missing)) if Instant::now() >= end => {
                return Err(missing.context(format!("{what}: not within {limit:?}; the last look says")));
            }
            Ok(Err(_)) => tokio::time::sleep(LOOK).await,
            Err(_) => bail!("{what}: not within {limit:?}, and the last look got no answer"),
        }
    }
}

/// Until the API server is ready, and not only there: before, it refuses some requests. It takes some 10 s to start.
pub async fn api_server(client: &Client) -> Result<()> {
    until("the API server is ready", Duration::from_mins(2), async || {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await.context("no answer").map(drop)
    })
    .await
}

/// Watches an object until `holds`, at most for `limit`. The error shows the object as it is then.
pub async fn object<K>(api: &Api<K>, name: &str, what: &str, limit: Duration, holds: fn(&K) -> bool) -> Result<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let found = watched(api, name, what, limit, move |seen: Option<&K>| seen.is_some_and(holds)).await?;
    found.with_context(|| format!("{name}: {what}: deleted meanwhile"))
}

/// Watches until the object is gone, at most for `limit`.
pub async fn gone<K>(api: &Api<K>, name: &str, limit: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    watched(api, name, "gone", limit, |seen: Option<&K>| seen.is_none()).await.map(|_| ())
}

/// A watch that breaks, as it does while the API server restarts, is begun again.
async fn watched<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    holds: impl Fn(Option<&K>) -> bool + Copy,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let first_unbroken = async {
        loop {
            match await_condition(api.clone(), name, holds).await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    };
    match tokio::time::timeout(limit, first_unbroken).await {
        Ok(found) => Ok(found),
        Err(_) => bail!("{name}: {what}: not within {limit:?}; it is {:#?}", api.get_opt(name).await?),
    }
}

/// Waits until the region's `Ready` is true for its present generation, at most for `limit`.
pub async fn ready(regions: &Api<TurnRegion>, name: &str, limit: Duration) -> Result<TurnRegion> {
    object(regions, name, "Ready=True for its generation", limit, is_ready).await
}

fn is_ready(region: &TurnRegion) -> bool {
    let current = region.status.as_ref().and_then(|status| status.observed_generation) == region.metadata.generation;
    current && conditions(region).is_true(condition::READY)
}

/// The region's conditions, none before the first look of the operator.
pub fn conditions(region: &TurnRegion) -> &[Condition] {
    region.status.as_ref().map_or(&[], |status| &status.conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_at_the_first_good_look() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(20), async || {
            looks += 1;
            anyhow::ensure!(looks >= 3, "only {looks}");
            Ok(looks)
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_deadline_says_what_was_waited_for_and_what_was_seen_last() {
        let error = until::<(), _>("two regions", Duration::from_millis(1), async || bail!("one region")).await;
        assert_eq!(format!("{:#}", error.unwrap_err()), "two regions: not within 1ms; the last look says: one region");
    }

    #[tokio::test]
    async fn a_look_that_never_returns_is_given_up() {
        let error = until::<(), _>("an answer", Duration::from_millis(1), async || {
            std::future::pending::<()>().await;
            Ok(())
        });
        let error = error.await.unwrap_err().to_string();
        assert_eq!(error, "an answer: not within 1ms, and the last look got no answer");
    }
}
