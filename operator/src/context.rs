//! What every reconcile is given. Nothing below it takes a clock, a client or a random number from the air.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use kube::Client;

use crate::{
    admin::Health, backoff::Backoff, ca::Ca, clock::Clock, decisions::Decisions, kube_io::Recorder, leader::Leadership,
    metrics::Metrics, node_client::NodeApi, publish::azure::Cloud, turnregion::offer::Offers,
};

/// What the flags say, as far as controllers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The operator's own namespace.
    pub namespace: String,
    pub pod_name: String,
    /// Left out when the operator runs by hand.
    pub pod_ip: Option<IpAddr>,
    /// `HOST:PORT` of the API server as every pod reaches it. Left out when the operator runs by hand.
    pub api_server: Option<String>,
    /// Image of the nodes, unless a resource names another.
    pub media_node_image: String,
    /// The cluster's own networks, which nodes refuse as peers unless a region opens them.
    pub cluster_networks: Vec<IpNet>,
    /// For names that a profile of Azure Traffic Manager answers for.
    pub azure: Cloud,
}

/// Shared by all controllers.
pub struct Ctx {
    pub client: Client,
    pub metrics: Metrics,
    pub decisions: Decisions,
    pub recorder: Recorder,
    pub backoff: Backoff,
    pub node_api: Arc<dyn NodeApi>,
    pub ca: Arc<Ca>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
    /// Says whether this process still leads; writes outside the cluster are fenced by it.
    pub leadership: Leadership,
    /// What regions offer to names.
    pub offers: Offers,
}
