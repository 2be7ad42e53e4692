//! Regions whose packets are late or lost.

use std::{process::Command, time::Duration};

use anyhow::Result;

use crate::{cluster, command};

/// A region with a bad network, in each direction. Between two machines of it, it counts for both.
pub struct BadNetwork {
    region: String,
}

impl BadNetwork {
    /// A delay of 50 ms makes a round trip 100 ms longer. Replaces what the region had before.
    pub async fn of_region(region: &str, delay: Duration, loss_percent: f64) -> Result<Self> {
        let bad = Self { region: region.to_owned() };
        bad.netem(&["--delay", &format!("{}us", delay.as_micros()), "--loss", &format!("{loss_percent}%")]).await?;
        Ok(bad)
    }

    pub async fn ends(self) -> Result<()> {
        self.netem(&["--clear"]).await
    }

    async fn netem(&self, flags: &[&str]) -> Result<()> {
        let arguments = [&["region", "netem", &self.region], flags].concat();
        // Longer than rtc-cluster waits for its own program, for each of two machines.
        command::run(cluster::rtc_cluster(), &arguments, Duration::from_secs(50)).await?;
        Ok(())
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        let cleared = Command::new(cluster::rtc_cluster()).args(["region", "netem", &self.region, "--clear"]).output();
        let told = match cleared {
            Ok(output) if output.status.success() => return,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("the network is still bad: rtc-cluster region netem {} --clear: {told}", self.region);
    }
}
