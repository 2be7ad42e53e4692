//! Log lines: JSON for machines, plain for people. `RUST_LOG` has the last word.

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// INFO for us. The kube crates log each failing request and each watch that starts again as errors or warnings, though
/// we log what comes of it; HTTP and TLS below them at WARN.
const DEFAULT: &str = "info,kube=warn,kube_client=warn,kube_runtime=warn,kube_client::client::builder=off,\
                       hyper=warn,hyper_util=warn,rustls=warn,tower=warn,h2=warn";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
    Plain,
}

/// Once, at start.
pub fn init(format: Format) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(DEFAULT));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .init(),
        Format::Plain => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_filter_is_one_that_tracing_understands() {
        EnvFilter::try_new(DEFAULT).unwrap();
    }
}
