//! What is allowed and still likely to hurt: relayed ports that others on the machine pick from too.

use crate::turn::proto::PortRange;

/// Ports that Kubernetes takes for Services of type NodePort unless told otherwise.
const NODE_PORTS: (u16, u16) = (30000, 32767);

/// What `/proc/sys/net/ipv4` says about ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSettings {
    /// `ip_local_port_range`, such as `32768\t60999`.
    pub local_range: String,
    /// `ip_local_reserved_ports`, such as `8080,49152-65535`.
    pub reserved: String,
}

/// One sentence for each way in which `ports` can be taken by something else first.
pub fn of_ports(ports: PortRange, settings: &PortSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    let ephemeral = parse_pair(&settings.local_range, char::is_whitespace);
    if let Some((low, high)) = ephemeral.and_then(|range| free_overlap(ports, range, &settings.reserved)) {
        warnings.push(format!(
            "relayed ports {low}-{high} are also the machine's ephemeral ports (net.ipv4.ip_local_port_range): set \
             net.ipv4.ip_local_reserved_ports={low}-{high}, or move relay.minPort and relay.maxPort"
        ));
    }
    if let Some((low, high)) = overlap(ports, NODE_PORTS) {
        warnings.push(format!(
            "relayed ports {low}-{high} are also Kubernetes NodePorts (30000-32767 by default): move relay.minPort and \
             relay.maxPort, or the cluster's --service-node-port-range"
        ));
    }
    warnings
}

fn overlap(ports: PortRange, (low, high): (u16, u16)) -> Option<(u16, u16)> {
    let (low, high) = (low.max(ports.first()), high.min(ports.last()));
    (low <= high).then_some((low, high))
}

/// The overlap from its first to its last port that is not reserved.
fn free_overlap(ports: PortRange, range: (u16, u16), reserved: &str) -> Option<(u16, u16)> {
    let (low, high) = overlap(ports, range)?;
    let reserved: Vec<(u16, u16)> =
        reserved.trim().split(',').filter_map(|part| parse_pair(part, |c| c == '-')).collect();
    let free = |port: &u16| !reserved.iter().any(|(first, last)| (*first..=*last).contains(port));
    let first = (low..=high).find(free)?;
    let last = (low..=high).rev().find(free)?;
    Some((first, last))
}

/// `a-b`, or `a` alone.
fn parse_pair(text: &str, separator: impl Fn(char) -> bool) -> Option<(u16, u16)> {
    let mut parts = text.trim().split(separator).filter(|part| !part.is_empty());
    let first = parts.next()?.parse().ok()?;
    let last = parts.next().map_or(Some(first), |part| part.parse().ok())?;
    Some((first, last))
}
