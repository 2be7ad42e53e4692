//! The rtc-fleet operator: observes custom resources, and makes a fleet of media nodes follow them.

pub mod admin;
pub mod backoff;
pub mod ca;
pub mod check;
pub mod cli;
pub mod clock;
pub mod cluster_networks;
pub mod context;
pub mod decisions;
pub mod dns_check;
pub mod error;
pub mod explain;
pub mod fleet;
pub mod http_get;
pub mod kube_io;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod node_client;
pub mod plan;
pub mod publish;
pub mod run;
pub mod simulate;
pub mod table;
pub mod turnregion;
pub mod yaml;
