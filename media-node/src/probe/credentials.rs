//! Whom the prober is, to which server.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    config::Auth,
    turn::{
        probe::client::Client,
        proto::{Secret, Secrets},
        secrets::{Follower, Look},
    },
};

/// Whom the quotas of servers count, unless probers are given names of their own.
pub const USER: &str = "rtc-fleet-prober";

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// TURN REST: made anew for each probe.
    Secret { auth: Auth, ttl: Duration },
    /// Given by a TURN service.
    Password { username: String, file: PathBuf },
}

/// What is in force now. `Debug` shows nothing secret.
#[derive(Clone)]
pub enum Credentials {
    /// `ttl` is long enough for clocks that differ by minutes, or are stepped.
    Secrets {
        secrets: Secrets,
        ttl: Duration,
        user: Arc<str>,
    },
    Password {
        username: String,
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    /// In the order to be tried: a prober may learn of a new secret before a server does. `unix` is now.
    pub fn clients(&self, unix: u64) -> Vec<Client> {
        match self {
            Self::Secrets { secrets: Secrets { current, previous }, ttl, user } => {
                let named = |secret: &Secret| {
                    let username = format!("{}:{user}", unix + ttl.as_secs());
                    Client::named(username.clone(), secret.password(&username))
                };
                std::iter::once(current).chain(previous).map(named).collect()
            }
            Self::Password { username, password } => vec![Client::named(username.clone(), password.clone())],
        }
    }

    /// Somebody who knows the user name and nothing else.
    pub fn impostor(&self, unix: u64) -> Client {
        let username = match self {
            Self::Secrets { ttl, user, .. } => format!("{}:{user}", unix + ttl.as_secs()),
            Self::Password { username, .. } => username.clone(),
        };
        Client::named(username, "this is not the password".to_owned())
    }
}

/// A [`Source`] that is followed while its files change.
pub struct Followed {
    source: Source,
    user: Arc<str>,
    secrets: Option<Follower>,
    password: Option<String>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Followed {
    /// `user` is whom quotas count, where the source does not say.
    pub fn new(source: Source, user: Arc<str>) -> Self {
        let secrets = match &source {
            Source::Secret { auth, .. } => Some(Follower::new(auth.clone())),
            Source::Password { .. } => None,
        };
        Self { source, user, secrets, password: None }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the files. True if something else is in force than before.
    pub fn look(&mut self) -> bool {
        match (&self.source, &mut self.secrets) {
            (Source::Secret { .. }, Some(follower)) => follower.look() == Look::Changed,
            (Source::Password { file, .. }, _) => match read_password(file) {
                Ok(password) => self.password.replace(password.clone()).is_none_or(|before| before != password),
                // As with secrets: what was stays.
                Err(_) => false,
            },
            (Source::Secret { .. }, None) => false,
        }
    }

    /// None before the files could be read once.
    pub fn credentials(&self) -> Option<Credentials> {
        match &self.source {
            Source::Secret { ttl, .. } => Some(Credentials::Secrets {
                secrets: self.secrets.as_ref()?.secrets()?,
                ttl: *ttl,
                user: Arc::clone(&self.user),
            }),
            Source::Password { username, .. } => {
                Some(Credentials::Password { username: username.clone(), password: self.password.clone()? })
            }
        }
    }
}

/// The password in a file, without the white space around it.
pub fn read_password(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text));
    read.map_err(|error| format!("cannot be read: {error}: write the password there"))?;
    match text.trim() {
        "" => Err("is empty: write the password there".to_owned()),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_secrets_of_a_rotation_are_tried_the_new_one_first_and_none_is_shown() {
        let secret = |text: &[u8]| Secret::new(text).unwrap();
        let secrets = Secrets { current: secret(b"new"), previous: Some(secret(b"old")) };
        let credentials = Credentials::Secrets { secrets, ttl: Duration::from_hours(6), user: USER.into() };
        assert_eq!(credentials.clients(1_800_000_000).len(), 2);
        let shown = format!("{credentials:?} {:?}", credentials.clients(0));
        assert_eq!(shown, "Credentials(..) [Client(..), Client(..)]");
    }

    #[test]
    fn a_password_file_is_followed_and_keeps_its_last_value() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let mut followed =
            Followed::new(Source::Password { username: "alice".to_owned(), file: file.clone() }, USER.into());
        assert!(!followed.look() && followed.credentials().is_none());
        std::fs::write(&file, " one\n").unwrap();
        assert!(followed.look() && !followed.look());
        std::fs::remove_file(&file).unwrap();
        assert!(!followed.look() && followed.credentials().is_some());
        std::fs::write(&file, "two").unwrap();
        assert!(followed.look());
    }
}
