//! Flags. Those of `run` have an environment variable each, for the pod's manifest.

mod azure;
mod dns;
mod plan;
mod simulate;

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

pub use self::azure::Azure;
pub use self::dns::{Dns, DnsCheck, DnsCommand};
pub use self::plan::Plan;
pub use self::simulate::Simulate;
use crate::logging::Format;

/// Name of the operator's Lease unless a flag says otherwise.
pub const LEASE: &str = "rtc-fleet-operator";

#[derive(Debug, Parser)]
#[command(name = "operator", version, about = "The rtc-fleet operator", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controllers
    Run(Box<Run>),
    /// Print the last decisions about a resource, with what they were made from
    Explain(Explain),
    /// Say whether this installation is in working order: the CRDs, and a replica that acts and is ready
    Check(Check),
    /// Print what the operator would want for relays as busy as this; needs no cluster
    Plan(Plan),
    /// Compare how fleets come through a day of calls, failures or an upgrade; needs no cluster
    Simulate(Simulate),
    /// Look after servers at which DNS answers are published; needs no cluster
    Dns(Dns),
}

#[derive(Debug, Args)]
pub struct Run {
    /// The operator's own namespace: of its Lease and its CA
    #[arg(long, env = "POD_NAMESPACE", default_value = "rtc-fleet-system")]
    pub namespace: String,
    /// Name of this pod: the Lease's holder, and the instance in Events. By hand: any name of your own
    #[arg(long, env = "POD_NAME", default_value = "by-hand")]
    pub pod_name: String,
    /// Address of this pod
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// Set inside of a pod: the API server, one of the things by which probers know that they are not cut off
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    pub kubernetes_service_host: Option<String>,
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", hide = true, default_value_t = 443)]
    pub kubernetes_service_port: u16,
    /// Image of the media nodes, unless a resource names another
    #[arg(long, env = "MEDIA_NODE_IMAGE")]
    pub media_node_image: String,
    /// Network of the cluster, such as that of its pods, that relays refuse as peers unless a region opens it: CIDR,
    /// again for each. Those of Services are found out. Not the machines' own: relays send to each other there
    #[arg(long = "cluster-network", env = "CLUSTER_NETWORKS", value_delimiter = ',', value_name = "CIDR", value_parser = parse_network)]
    pub cluster_networks: Vec<IpNet>,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// Where `operator explain` asks for decisions; loopback only
    #[arg(long, env = "DECISIONS_ADDRESS", default_value = "127.0.0.1:8081")]
    pub decisions_address: SocketAddr,
    /// How log lines are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = Format::Json)]
    pub log_format: Format,
    /// Name of the Lease that decides which replica acts
    #[arg(long, env = "LEASE_NAME", default_value = LEASE)]
    pub lease_name: String,
    #[command(flatten)]
    pub azure: Azure,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The resource, such as turnregion/centralindia
    #[arg(value_name = "KIND/NAME", value_parser = parse_target)]
    pub target: Target,
    /// Namespace of the resource [default: the kubeconfig's or the pod's own]
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Namespace of the operator
    #[arg(long, env = "POD_NAMESPACE", default_value = "rtc-fleet-system")]
    pub operator_namespace: String,
    /// Name of the Lease that says which replica acts
    #[arg(long, env = "LEASE_NAME", default_value = LEASE)]
    pub lease_name: String,
    /// Where the operator serves its decisions, inside of its pod
    #[arg(long, env = "DECISIONS_ADDRESS", default_value = "127.0.0.1:8081")]
    pub decisions_address: SocketAddr,
    /// Set inside of an operator's pod, which is then asked first
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Namespace of the operator
    #[arg(long, env = "POD_NAMESPACE", default_value = "rtc-fleet-system")]
    pub operator_namespace: String,
    /// Name of the Lease that says which replica acts
    #[arg(long, env = "LEASE_NAME", default_value = LEASE)]
    pub lease_name: String,
    /// Port of the replicas' /readyz
    #[arg(long, default_value_t = 8080)]
    pub admin_port: u16,
    /// Seconds in which a replica has to lead and be ready: one takes over from another within 15
    #[arg(long, default_value_t = 30)]
    pub wait: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// What `operator explain` is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: &'static str,
    pub name: String,
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| "write address/prefix length, such as 34.118.224.0/20 or 2600:1900::/48".to_owned())
}

/// The kinds that decisions are made about, with everything that kubectl takes for them.
const KINDS: [(&str, &[&str]); 2] =
    [("TurnRegion", &["turnregion", "turnregions", "tr"]), ("DnsFailover", &["dnsfailover", "dnsfailovers", "dnsf"])];

fn parse_target(text: &str) -> Result<Target, String> {
    let wanted = || "write KIND/NAME, such as turnregion/centralindia or dnsfailover/india".to_owned();
    let (kind, name) = text.split_once('/').ok_or_else(wanted)?;
    if name.is_empty() || name.contains('/') {
        return Err(wanted());
    }
    let kind_of = |(known, spellings): &(&'static str, &[&str])| {
        spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(kind)).then_some(*known)
    };
    let known = KINDS.iter().find_map(kind_of);
    let kind = known.ok_or_else(|| format!("{kind:?} is no kind of rtc-fleet: {}", wanted()))?;
    Ok(Target { kind, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn networks_of_the_cluster_are_given_one_by_one_or_in_a_list() {
        let run = |more: &[&str]| {
            let arguments = ["operator", "run", "--media-node-image=i"].iter().chain(more);
            match Cli::try_parse_from(arguments).map(|cli| cli.command) {
                Ok(Command::Run(run)) => Ok(run.cluster_networks),
                Ok(_) => panic!("run"),
                Err(error) => Err(error.to_string()),
            }
        };
        let two = ["34.118.224.0/20", "2600:1900::/48"].map(|text| text.parse::<IpNet>().unwrap());
        assert_eq!(run(&["--cluster-network=34.118.224.0/20", "--cluster-network=2600:1900::/48"]).unwrap(), two);
        assert_eq!(run(&["--cluster-network=34.118.224.0/20,2600:1900::/48"]).unwrap(), two);
        assert_eq!(run(&[]).unwrap(), []);
        let refused = run(&["--cluster-network=34.118.224.0"]).unwrap_err();
        assert!(refused.contains("write address/prefix length, such as 34.118.224.0/20"), "{refused}");
    }

    #[test]
    fn a_target_is_taken_in_every_spelling_that_kubectl_takes() {
        for text in ["turnregion/a", "TurnRegion/a", "turnregions/a", "tr/a"] {
            assert_eq!(parse_target(text).unwrap(), Target { kind: "TurnRegion", name: "a".into() }, "{text}");
        }
    }

    #[test]
    fn a_target_that_is_none_says_what_to_write() {
        for text in ["a", "turnregion/", "pod/a", "turnregion/a/b"] {
            let error = parse_target(text).unwrap_err();
            assert!(error.contains("such as turnregion/centralindia"), "{text}: {error}");
        }
    }
}
