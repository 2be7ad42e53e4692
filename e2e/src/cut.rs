//! Machines that are cut off: what runs on them goes on, and nobody reaches it.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{cluster, command};

/// A machine or a region without its cables. They are plugged in again when this is dropped.
pub struct Cut {
    kind: &'static str,
    name: String,
}

impl Cut {
    pub async fn node(name: &str) -> Result<Self> {
        Self { kind: "node", name: name.to_owned() }.unplugged().await
    }

    pub async fn region(name: &str) -> Result<Self> {
        Self { kind: "region", name: name.to_owned() }.unplugged().await
    }

    pub async fn comes_back(self) -> Result<()> {
        self.link("up").await
    }

    async fn unplugged(self) -> Result<Self> {
        self.link("down").await?;
        Ok(self)
    }

    async fn link(&self, state: &str) -> Result<()> {
        command::run(cluster::rtc_cluster(), &[self.kind, state, &self.name], Duration::from_secs(20)).await?;
        Ok(())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let up = Command::new(cluster::rtc_cluster()).args([self.kind, "up", &self.name]).output();
        if let Err(error) = up {
            eprintln!("{} is still cut off: rtc-cluster {} up {0}: {error}", self.name, self.kind);
        }
    }
}
