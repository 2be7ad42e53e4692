//! TURN clients that others have written: what they make of a relay counts.

pub mod aioice;
pub mod browser;
pub mod pion;
pub mod uclient;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::cluster;

/// A listener of a relay, as a client is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: SocketAddr,
    pub transport: Transport,
}

/// How a client speaks to a relay (RFC 8656 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    /// Over TCP. The client trusts the authority in this PEM file, and no other.
    Tls(PathBuf),
}

impl Transport {
    pub fn text(&self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
        }
    }

    pub fn authority(&self) -> Option<&Path> {
        match self {
            Self::Udp | Self::Tcp => None,
            Self::Tls(authority) => Some(authority),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport.text(), self.address.port())
    }
}

/// The command line of a client in Python.
fn python(client: &str) -> Result<Vec<PathBuf>> {
    let python = cluster::cache().context("no home folder")?.join("python/bin/python");
    ensure!(python.exists(), "{}: not there: run e2e/setup/python.sh", python.display());
    // -B: nothing is written into the repository.
    Ok(vec![python, "-B".into(), cluster::repository().join("e2e/clients").join(client)])
}
