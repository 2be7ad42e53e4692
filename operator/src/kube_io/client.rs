//! The client: bounded waits, no hidden retries, and every request counted.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, header::CONTENT_TYPE};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::{Layer, Service};

use crate::metrics::{Code, Metrics, Verb};

/// Longer than the minute between two bookmarks of a watch: a connection that is silent for longer is dead, and the
/// watch goes on over a new one from where it was.
const SILENCE: Duration = Duration::from_secs(100);
const CONNECT: Duration = Duration::from_secs(5);

/// Bounds on every wait. kube retries by itself for up to 1000 s, and hides it; [`crate::backoff`] does that per object.
pub fn config(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(super::CALL_TIMEOUT);
    config.default_retry = false;
    config
}

/// A client whose requests are counted in `metrics`.
pub fn client(config: Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&Count(metrics.clone())).build())
}

#[derive(Clone)]
struct Count(Metrics);

impl<S> Layer<S> for Count {
    type Service = Counted<S>;
    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = verb(&request);
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(Code::NoAnswer, |answer| Code::Class(answer.status().as_u16() / 100));
            metrics.requested(verb, code);
            answer
        })
    }
}

fn verb<B>(request: &Request<B>) -> Verb {
    match *request.method() {
        Method::GET if has_watch(request.uri().query()) => Verb::watch,
        Method::GET if names_an_object(request.uri().path()) => Verb::get,
        Method::GET => Verb::list,
        Method::POST => Verb::create,
        Method::PUT => Verb::update,
        Method::PATCH if is_apply(request) => Verb::apply,
        Method::PATCH => Verb::patch,
        Method::DELETE => Verb::delete,
        _ => Verb::other,
    }
}

fn has_watch(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

fn is_apply<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"))
}

/// `/api/v1/namespaces/media/pods/a` does, `/api/v1/namespaces/media/pods` and `/version` do not.
fn names_an_object(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let after_version = match parts.next() {
        Some("api") => parts.skip(1).collect::<Vec<_>>(),
        Some("apis") => parts.skip(2).collect(),
        _ => return false,
    };
    let resource = match after_version.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    resource.len() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, kind: &str) -> Request<()> {
        Request::builder().method(method).uri(uri).header(CONTENT_TYPE, kind).body(()).unwrap()
    }

    #[test]
    fn requests_are_counted_by_what_they_do() {
        let json = "application/json";
        for (method, uri, kind, expected) in [
            ("GET", "/api/v1/namespaces/media/pods/a", json, Verb::get),
            ("GET", "/api/v1/namespaces/media", json, Verb::get),
            ("GET", "/api/v1/namespaces/media/pods?limit=500", json, Verb::list),
            ("GET", "/api/v1/nodes", json, Verb::list),
            ("GET", "/apis/rtcfleet.dev/v1alpha1/turnregions?&watch=true&timeoutSeconds=290", json, Verb::watch),
            ("GET", "/apis/apps/v1/namespaces/media/deployments/a-0", json, Verb::get),
            ("PATCH", "/apis/apps/v1/namespaces/media/deployments/a-0", "application/apply-patch+yaml", Verb::apply),
            ("PATCH", "/api/v1/namespaces/media/events/e", "application/merge-patch+json", Verb::patch),
            ("POST", "/api/v1/namespaces/media/secrets", json, Verb::create),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/y", json, Verb::update),
            ("DELETE", "/apis/apps/v1/namespaces/media/deployments/a-0", json, Verb::delete),
            ("OPTIONS", "/", json, Verb::other),
        ] {
            assert_eq!(verb(&request(method, uri, kind)), expected, "{method} {uri}");
        }
    }

    #[test]
    fn the_client_neither_retries_in_secret_nor_waits_forever() {
        let config = config(Config::new("https://10.200.0.1:6443".parse().unwrap()));
        assert!(!config.default_retry);
        assert!(config.read_timeout.is_some() && config.connect_timeout.is_some() && config.write_timeout.is_some());
    }
}
