//! Firewalls in front of machines that stop some of their UDP, and nothing else. Rules in a machine's network namespace; what
//! a machine sends itself, over its loopback interface, passes.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    ops::RangeInclusive,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// Ports of relayed addresses, unless a region says otherwise.
pub const RELAYED: RangeInclusive<u16> = 49152..=65535;
/// By which our rules are known from those of Kubernetes.
const MARK: &str = "rtc-fleet-e2e";
const FAMILIES: [&str; 2] = ["iptables", "ip6tables"];
/// Of the cluster: see e2e/cluster.
const MACHINES: &str = "10.200.0.0/24";
const NETNS_FOLDER: &str = "/run/netns";
const NETNS_PREFIX: &str = "rtc-";

/// A machine behind such a firewall.
pub struct Blocked {
    netns: String,
    families: &'static [&'static str],
    rules: Vec<String>,
}

impl Blocked {
    /// UDP to and from this port of a machine, in both families. TCP to the same port passes.
    pub fn udp_listener(node: &str, port: u16) -> Result<Self> {
        Self::put_up(format!("{NETNS_PREFIX}{node}"), &listener_rules(port))
    }

    /// UDP between relayed addresses of a machine and others, in both families: callers are given allocations, and reach
    /// those on the same machine alone. Ports below 1024 on the other side pass, so that the machine itself may go on
    /// asking for names and the time.
    pub fn relayed(node: &str, ports: &RangeInclusive<u16>) -> Result<Self> {
        Self::put_up(format!("{NETNS_PREFIX}{node}"), &relayed_rules(ports))
    }

    /// UDP from relayed addresses of a machine to others, in both families: what peers send arrives, and what callers send to
    /// them is lost on its way, without a word.
    pub fn sent_from_relayed(node: &str, ports: &RangeInclusive<u16>) -> Result<Self> {
        Self::put_up(format!("{NETNS_PREFIX}{node}"), &[sent_rule(ports)])
    }

    /// All that a pod sends to machines, and through them to Services: it is heard by other pods, and reaches nothing itself.
    pub fn pod(node: &str, address: Ipv4Addr) -> Result<Self> {
        Self::put_up_in(&FAMILIES[..1], format!("{NETNS_PREFIX}{node}"), &pod_rules(address))
    }

    pub fn ends(mut self) -> Result<()> {
        self.take_down()
    }

    /// Blocks, for milliseconds, as taking it down has to.
    fn put_up(netns: String, rules: &[String]) -> Result<Self> {
        Self::put_up_in(&FAMILIES, netns, rules)
    }

    fn put_up_in(families: &'static [&'static str], netns: String, rules: &[String]) -> Result<Self> {
        let mut blocked = Self { netns, families, rules: Vec::new() };
        for family in families {
            restore(&blocked.netns, family, "-I", rules)?;
            // Taking it down asks for those that are there.
            rules.clone_into(&mut blocked.rules);
        }
        Ok(blocked)
    }

    fn take_down(&mut self) -> Result<()> {
        let rules = std::mem::take(&mut self.rules);
        if rules.is_empty() {
            return Ok(());
        }
        let removed: Vec<_> = self.families.iter().map(|family| restore(&self.netns, family, "-D", &rules)).collect();
        removed.into_iter().collect()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("rules of a firewall are left behind in {}: {error:#}", self.netns);
        }
    }
}

fn listener_rules(port: u16) -> Vec<String> {
    vec![format!("INPUT ! -i lo -p udp --dport {port}"), format!("OUTPUT ! -o lo -p udp --sport {port}")]
}

fn relayed_rules(ports: &RangeInclusive<u16>) -> Vec<String> {
    let received = format!("INPUT ! -i lo -p udp --dport {}:{} --sport 1024:65535", ports.start(), ports.end());
    vec![received, sent_rule(ports)]
}

fn sent_rule(ports: &RangeInclusive<u16>) -> String {
    format!("OUTPUT ! -o lo -p udp --sport {}:{} --dport 1024:65535", ports.start(), ports.end())
}

fn pod_rules(address: Ipv4Addr) -> Vec<String> {
    ["INPUT", "FORWARD"].map(|chain| format!("{chain} -s {address}/32 -d {MACHINES}")).into()
}

/// All of them or none.
fn restore(netns: &str, family: &str, action: &str, rules: &[String]) -> Result<()> {
    let lines: String =
        rules.iter().map(|rule| format!("{action} {rule} -m comment --comment {MARK} -j DROP\n")).collect();
    apply(netns, family, &lines)
}

fn apply(netns: &str, family: &str, lines: &str) -> Result<()> {
    let program = format!("{family}-restore");
    let mut restore = Command::new("nsenter")
        .args([&format!("--net={NETNS_FOLDER}/{netns}"), "--", &program, "--noflush", "--wait", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("nsenter does not start: apt-get install util-linux")?;
    let input = format!("*filter\n{lines}COMMIT\n");
    let mut stdin = restore.stdin.take().context("standard input is a pipe")?;
    let fed = stdin.write_all(input.as_bytes());
    drop(stdin);
    let ended = restore.wait_with_output()?;
    if !ended.status.success() {
        bail!("{program} in {netns} refuses\n{input}{}", String::from_utf8_lossy(&ended.stderr));
    }
    Ok(fed?)
}

/// Takes down what an aborted run has put up on any machine of the local cluster, and says so. Nobody else may use the
/// machines meanwhile.
pub async fn remove_leftovers() -> Result<()> {
    for entry in fs::read_dir(NETNS_FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(NETNS_PREFIX) {
            remove_from(&name).await?;
        }
    }
    Ok(())
}

async fn remove_from(netns: &str) -> Result<()> {
    for family in FAMILIES {
        let net = format!("--net={NETNS_FOLDER}/{netns}");
        let save = [&net, "--", &format!("{family}-save"), "-t", "filter"];
        let saved = command::run("nsenter", &save, Duration::from_secs(10)).await?;
        let lines = removal_of_ours(&saved);
        if !lines.is_empty() {
            eprintln!("rules of a firewall that an aborted run left in {netns} are removed:\n{lines}");
            apply(netns, family, &lines)?;
        }
        let left = command::run("nsenter", &save, Duration::from_secs(10)).await?;
        ensure!(removal_of_ours(&left).is_empty(), "{netns}: rules are still there:\n{left}");
    }
    Ok(())
}

fn removal_of_ours(saved: &str) -> String {
    let ours = saved.lines().filter(|line| line.contains(MARK)).filter_map(|line| line.strip_prefix("-A "));
    ours.map(|rule| format!("-D {rule}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_of_the_port_is_stopped_and_nothing_on_loopback() {
        assert_eq!(listener_rules(3478), ["INPUT ! -i lo -p udp --dport 3478", "OUTPUT ! -o lo -p udp --sport 3478"]);
        assert_eq!(
            relayed_rules(&RELAYED),
            [
                "INPUT ! -i lo -p udp --dport 49152:65535 --sport 1024:65535",
                "OUTPUT ! -o lo -p udp --sport 49152:65535 --dport 1024:65535"
            ]
        );
    }

    #[test]
    fn rules_of_others_are_not_removed() {
        let saved = "\
*filter
:INPUT ACCEPT [0:0]
-A INPUT ! -i lo -p udp -m udp --dport 3478 -m comment --comment rtc-fleet-e2e -j DROP
-A INPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
COMMIT
";
        let ours = "-D INPUT ! -i lo -p udp -m udp --dport 3478 -m comment --comment rtc-fleet-e2e -j DROP\n";
        assert_eq!(removal_of_ours(saved), ours);
    }

    #[test]
    fn a_machine_that_is_not_there_is_named() {
        let error = Blocked::udp_listener("nowhere-1", 3478).err().map(|error| error.to_string()).unwrap();
        assert!(error.contains("in rtc-nowhere-1 refuses") && error.contains("--dport 3478"), "{error}");
    }
}
