//! The configuration in force: from its file, or put by somebody who does not want to wait until the file is there.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

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

/// Where a configuration stands, and what the command line has put in its place.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
    pub addresses: Addresses,
}

/// What a prober runs by.
pub struct Loaded {
    place: Place,
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
    pub fn read(place: Place) -> Result<Self, LoadError> {
        let file = read_text(&place.path)?;
        let in_force = InForce::of(&place, file.clone())?;
        Ok(Self { place, file, put: VecDeque::new(), in_force })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Takes up a file that has changed, unless it is behind, and authorities that have.
    pub fn look(&mut self) -> Result<Option<Replaced>, LoadError> {
        let file = read_text(&self.place.path)?;
        let is_news = file != self.file && !self.put.contains(&config::hash(&file));
        let text = if is_news { &file } else { &self.in_force.text };
        let replaced = if *text == self.in_force.text && self.in_force.has_its_authorities() {
            None
        } else {
            let next = InForce::of(&self.place, text.clone())?;
            Some(self.replace(next))
        };
        self.file = file;
        Ok(replaced)
    }

    /// Takes up `next` as if it stood in the file.
    pub fn put(&mut self, next: InForce) -> Option<Replaced> {
        if next.text == self.in_force.text {
            return None;
        }
        self.put.push_back(next.config.hash.clone());
        if self.put.len() > REMEMBERED {
            self.put.pop_front();
        }
        Some(self.replace(next))
    }

    fn replace(&mut self, next: InForce) -> Replaced {
        Replaced(std::mem::replace(&mut self.in_force, next))
    }
}

impl InForce {
    /// Of a text that stands at `place`, or could. Reads what it names, and takes milliseconds for thousands of targets.
    pub fn of(place: &Place, text: String) -> Result<Self, LoadError> {
        let config = config::parse_file(&place.path, &text, place.addresses)?;
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
    /// Targets are to be begun anew.
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A configuration by the name of its target.
    fn text(name: &str) -> String {
        format!("auth: {{secretFiles: [secret]}}\ntargets: [{{name: {name}, uri: 'turn:192.0.2.1'}}]\n")
    }

    fn in_tls(authorities: &str) -> String {
        format!(
            "auth: {{secretFiles: [secret]}}\ncaFile: {authorities}\ntargets: [{{name: tls, uri: 'turns:192.0.2.1'}}]\n"
        )
    }

    struct Files(TempDir);

    impl Files {
        fn with(config: &str) -> (Self, Loaded) {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("probe.yaml", config);
            files.write("secret", "north");
            let loaded = Loaded::read(files.place()).unwrap();
            (files, loaded)
        }

        fn place(&self) -> Place {
            Place { path: self.0.path().join("probe.yaml"), addresses: Addresses::default() }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn authority(&self, name: &str) {
            let issued = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
            self.write(name, &issued.cert.pem());
        }

        fn put(&self, loaded: &mut Loaded, text: String) {
            loaded.put(InForce::of(&self.place(), text).unwrap());
        }
    }

    /// The target that is probed after another look at the files.
    fn now(loaded: &mut Loaded) -> String {
        let _ = loaded.look();
        loaded.in_force().config.targets[0].name.clone()
    }

    #[test]
    fn what_was_put_stays_until_the_file_holds_something_that_was_not() {
        let (files, mut loaded) = Files::with(&text("a"));
        files.put(&mut loaded, text("b"));
        assert_eq!(now(&mut loaded), "b", "the file has not changed");
        files.put(&mut loaded, text("c"));
        files.write("probe.yaml", &text("b"));
        assert_eq!(now(&mut loaded), "c", "the file is behind");
        files.write("probe.yaml", "targets: {}");
        assert_eq!(now(&mut loaded), "c", "the file is broken");
        files.put(&mut loaded, text("d"));
        files.write("probe.yaml", &text("c"));
        assert_eq!(now(&mut loaded), "d", "the file is mended, and behind");
        files.write("probe.yaml", &text("e"));
        assert_eq!(now(&mut loaded), "e");
        files.put(&mut loaded, text("a"));
        assert_eq!(now(&mut loaded), "a", "what was there before may be put again");
    }

    #[test]
    fn what_asks_for_authorities_that_are_not_there_yet_is_refused_and_those_that_change_are_followed() {
        let (files, mut loaded) = Files::with(&text("a"));
        let refused = InForce::of(&files.place(), in_tls("new.pem")).err().unwrap().to_string();
        assert!(refused.contains("new.pem"), "{refused}");
        files.authority("new.pem");
        files.put(&mut loaded, in_tls("new.pem"));
        assert_eq!(now(&mut loaded), "tls");
        files.authority("new.pem");
        let replaced = loaded.look().unwrap().expect("other authorities");
        assert!(replaced.had_other_authorities(loaded.in_force()));
        assert_eq!(now(&mut loaded), "tls", "what was put is still in force");
    }

    #[test]
    fn only_the_last_that_were_put_are_remembered() {
        let (files, mut loaded) = Files::with(&text("file"));
        for number in 0..=REMEMBERED {
            files.put(&mut loaded, text(&format!("n{number}")));
        }
        assert_eq!(loaded.put.len(), REMEMBERED);
        files.write("probe.yaml", &text("n1"));
        assert_eq!(now(&mut loaded), format!("n{REMEMBERED}"));
        files.write("probe.yaml", &text("n0"));
        assert_eq!(now(&mut loaded), "n0", "that was too long ago");
    }
}
