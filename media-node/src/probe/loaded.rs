//! The configuration in force: from its file, or put by somebody who does not want to wait until the file is there.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use rtcfleet_node_api::Transport;
use rustls::ClientConfig;

use super::{
    config::{self, Addresses, ProbeConfig},
    tls,
};
use crate::{
    cli::Failure,
    config::{ConfigError, read_text},
};

/// Configurations that were put last: a file that holds one of them is behind. A kubelet brings a file within a minute and
/// a half, and the relays of a fleet change more seldom than every few seconds.
const REMEMBERED: usize = 32;

/// What a prober runs by.
pub struct Loaded {
    path: PathBuf,
    addresses: Addresses,
    /// As it was read last.
    file: String,
    /// Hashes.
    put: VecDeque<String>,
    in_force: InForce,
}

/// One configuration, and what was made of it.
pub struct InForce {
    text: String,
    authorities: Option<Vec<u8>>,
    pub config: ProbeConfig,
    pub tls: Option<Arc<ClientConfig>>,
}

/// What was in force before something else came.
pub struct Replaced(InForce);

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Config(error) => Self::Config(error),
            LoadError::Roots(error) => Self::Usage(error.to_string()),
        }
    }
}

impl Loaded {
    pub fn read(path: &Path, addresses: Addresses) -> Result<Self, LoadError> {
        let file = read_text(path)?;
        let in_force = InForce::of(path, addresses, file.clone())?;
        Ok(Self { path: path.to_owned(), addresses, file, put: VecDeque::new(), in_force })
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Takes up a file that has changed, unless it is behind, and authorities that have.
    pub fn look(&mut self) -> Result<Option<Replaced>, LoadError> {
        let file = read_text(&self.path)?;
        let is_news = file != self.file && !self.put.contains(&config::hash(&file));
        let text = if is_news { &file } else { &self.in_force.text };
        let replaced = if *text == self.in_force.text && self.in_force.has_its_authorities() {
            None
        } else {
            let next = InForce::of(&self.path, self.addresses, text.clone())?;
            Some(self.replace(next))
        };
        self.file = file;
        Ok(replaced)
    }

    /// Takes up `text` as if it stood in the file.
    pub fn put(&mut self, text: String) -> Result<Option<Replaced>, LoadError> {
        if text == self.in_force.text {
            return Ok(None);
        }
        let next = InForce::of(&self.path, self.addresses, text)?;
        self.put.push_back(next.config.hash.clone());
        if self.put.len() > REMEMBERED {
            self.put.pop_front();
        }
        Ok(Some(self.replace(next)))
    }

    fn replace(&mut self, next: InForce) -> Replaced {
        Replaced(std::mem::replace(&mut self.in_force, next))
    }
}

impl InForce {
    fn of(path: &Path, addresses: Addresses, text: String) -> Result<Self, LoadError> {
        let config = config::parse_file(path, &text, addresses)?;
        let authorities = read_authorities(config.ca_file.as_ref());
        let needs_tls = config.targets.iter().any(|target| target.endpoint.transport == Transport::Tls);
        let tls = match (needs_tls, &config.ca_file) {
            (false, _) => None,
            (true, file) => Some(tls::client_config(file.as_deref(), "caFile")?),
        };
        Ok(Self { text, authorities, config, tls })
    }

    fn has_its_authorities(&self) -> bool {
        read_authorities(self.config.ca_file.as_ref()) == self.authorities
    }
}

impl Replaced {
    /// Targets over TLS are to be begun anew.
    pub fn had_other_authorities(&self, now: &InForce) -> bool {
        self.0.authorities != now.authorities || self.0.config.ca_file != now.config.ca_file
    }

    /// What is opened once has changed.
    pub fn was_served_elsewhere(&self, now: &InForce) -> bool {
        (&self.0.config.admin, self.0.config.metrics) != (&now.config.admin, now.config.metrics)
    }
}

fn read_authorities(path: Option<&PathBuf>) -> Option<Vec<u8>> {
    path.and_then(|path| std::fs::read(path).ok())
}
