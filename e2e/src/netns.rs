//! A machine of a caller: a network namespace of ours with a cable to the bridge that the cluster's machines hang on.

use std::{ffi::OsString, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, Finished},
    firewall::{self, Opening},
    scenario::OUTSIDE,
};

/// Of the cluster: see e2e/cluster.
pub(crate) const BRIDGE: &str = "rtcbr0";

/// A network namespace, removed with its cable and its rules when this is dropped, also by a panic. What runs in it must
/// have ended by then.
pub struct Netns {
    /// Of the namespace and of the cable's end at the bridge.
    name: String,
}

impl Netns {
    /// At `10.200.0.<number>`, where no machine of the cluster is. What an aborted run left under this name is removed first.
    pub fn new(topic: &str, number: u8) -> Result<Self> {
        // The name of a link has 15 letters at most.
        let netns = Self { name: format!("e2e-{topic}") };
        netns.remove();
        let Self { name } = &netns;
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set {name} master {BRIDGE} up")).context("is the cluster up? run `make up`")?;
        for inside in [
            "link set lo up".to_owned(),
            format!("addr add 10.200.0.{number}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            // A browser without one holds that it has no network.
            format!("route add default via {}", OUTSIDE[0]),
        ] {
            ip(&format!("-netns {name} {inside}"))?;
        }
        Ok(netns)
    }

    /// From now on nothing else leaves the namespace.
    pub async fn opens_only(&self, openings: &[Opening]) -> Result<()> {
        for (program, rules) in firewall::rules(openings) {
            let restore = self.line(&[program]);
            let finished = command::feed("ip", &restore, &rules, Duration::from_secs(10)).await?;
            if !finished.succeeded() {
                bail!("{program} in {} refuses\n{rules}{}", self.name, finished.stderr);
            }
        }
        Ok(())
    }

    /// Runs a program in the namespace; otherwise as [`command::feed`].
    pub async fn feed<A: AsRef<Path>>(&self, line: &[A], input: &str, limit: Duration) -> Result<Finished> {
        command::feed("ip", &self.line(line), input, limit).await
    }

    fn line<A: AsRef<Path>>(&self, line: &[A]) -> Vec<OsString> {
        let into: [OsString; 3] = ["netns".into(), "exec".into(), self.name.clone().into()];
        into.into_iter().chain(line.iter().map(|part| part.as_ref().as_os_str().to_owned())).collect()
    }

    /// What is not there is fine.
    fn remove(&self) {
        let Self { name } = self;
        // The cable first: the kernel takes the one of a namespace that is gone away only later.
        for (folder, removal) in [("/sys/class/net", "link delete"), ("/run/netns", "netns delete")] {
            if Path::new(folder).join(name).exists()
                && let Err(error) = ip(&format!("{removal} {name}"))
            {
                eprintln!("something is left behind: {error:#}");
            }
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Blocks, for milliseconds: dropping cannot wait otherwise.
pub(crate) fn ip(arguments: &str) -> Result<()> {
    let outcome = std::process::Command::new("ip").args(arguments.split(' ')).output();
    let outcome = outcome.context("ip does not start: apt-get install iproute2")?;
    if !outcome.status.success() {
        bail!("`ip {arguments}` fails: {}", String::from_utf8_lossy(&outcome.stderr).trim());
    }
    Ok(())
}
