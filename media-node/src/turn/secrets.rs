//! The files that hold the shared secrets, followed while they change.
//!
//! A file that is being replaced may be gone or empty for a moment, and a node that forgets its secret refuses everybody:
//! so the last value stays until there is another. Only the previous secret can be taken away, by removing its file,
//! because that is how a rotation ends.

use std::{io::Read, path::Path};

use sha2::{Digest, Sha256};

use super::proto::{Secret, SecretError, Secrets};
use crate::config::Auth;

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("there is no such file: write the secret there")]
    Missing,
    #[error("cannot be read: {0}: let the node's user read it")]
    Unreadable(std::io::Error),
    #[error(transparent)]
    Unusable(#[from] SecretError),
}

/// The secret in `path`, without the white space around it.
pub fn read_file(path: &Path) -> Result<Secret, SecretFileError> {
    read(path).map(|found| found.secret)
}

struct Found {
    secret: Secret,
    /// Tells a new value from the old one without keeping either in the open.
    digest: [u8; 32],
}

fn read(path: &Path) -> Result<Found, SecretFileError> {
    let mut bytes = Vec::new();
    // A little more than a secret may have, so that one that is too long is refused and not cut.
    let most = Secret::MAX as u64 * 2;
    std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(|error| match error
        .kind()
    {
        std::io::ErrorKind::NotFound => SecretFileError::Missing,
        _ => SecretFileError::Unreadable(error),
    })?;
    let secret = bytes.trim_ascii();
    Ok(Found { secret: Secret::new(secret)?, digest: Sha256::digest(secret).into() })
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Same,
    Changed,
    /// At least one file could not be used; what was stays.
    Failed,
}

/// Both files and what was last read from them.
pub struct Follower {
    auth: Auth,
    current: Option<Found>,
    previous: Option<Found>,
    /// Whether the log has been told of each, so that it hears of a failure once.
    told: [bool; 2],
}

impl Follower {
    pub fn new(auth: Auth) -> Self {
        Self { auth, current: None, previous: None, told: [false; 2] }
    }

    /// What is in force, once there has been a current secret.
    pub fn secrets(&self) -> Option<Secrets> {
        let current = self.current.as_ref()?.secret.clone();
        Some(Secrets { current, previous: self.previous.as_ref().map(|found| found.secret.clone()) })
    }

    /// Reads the files.
    pub fn look(&mut self) -> Look {
        self.look_with(read)
    }

    /// Both files may be exchanged between the two reads. So the current one comes first: then a rotation seen half is
    /// (old, old), which lets in whom it let in before. The other way round it would be (nothing, new), and whoever has
    /// credentials of the old secret would be refused until the next look.
    fn look_with(&mut self, mut read: impl FnMut(&Path) -> Result<Found, SecretFileError>) -> Look {
        let current = read(&self.auth.current);
        let previous = self.auth.previous.as_deref().map(read);
        self.take(current, previous)
    }

    fn take(
        &mut self,
        current: Result<Found, SecretFileError>,
        previous: Option<Result<Found, SecretFileError>>,
    ) -> Look {
        let digests = |follower: &Self| [&follower.current, &follower.previous].map(|f| f.as_ref().map(|f| f.digest));
        let before = digests(self);
        let all_gone = current.is_err();
        let mut failed = false;
        match current {
            Ok(found) => {
                self.current = Some(found);
                self.told[0] = false;
            }
            Err(error) => {
                failed = true;
                self.tell(0, &error);
            }
        }
        // If the whole directory is away, that is no rotation that ends.
        let previous = previous.filter(|read| !(all_gone && matches!(read, Err(SecretFileError::Missing))));
        match previous {
            None => {}
            Some(Ok(found)) => {
                self.previous = Some(found);
                self.told[1] = false;
            }
            Some(Err(SecretFileError::Missing)) => self.previous = None,
            Some(Err(error)) => {
                failed = true;
                self.tell(1, &error);
            }
        }
        match (failed, before == digests(self)) {
            (_, false) => Look::Changed,
            (true, true) => Look::Failed,
            (false, true) => Look::Same,
        }
    }

    fn tell(&mut self, which: usize, error: &SecretFileError) {
        if std::mem::replace(&mut self.told[which], true) {
            return;
        }
        let (path, kept) = match which {
            0 => (Some(&self.auth.current), self.current.is_some()),
            _ => (self.auth.previous.as_ref(), self.previous.is_some()),
        };
        let file = path.map(|path| path.display().to_string()).unwrap_or_default();
        if kept {
            tracing::warn!(file, %error, "a secret file cannot be used: the last secret read from it stays in force");
        } else {
            tracing::warn!(file, %error, "a secret file cannot be used: looking again every few seconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(secret: &str) -> Found {
        Found { secret: Secret::new(secret.as_bytes()).unwrap(), digest: Sha256::digest(secret).into() }
    }

    fn follower() -> Follower {
        Follower::new(Auth { current: "current".into(), previous: Some("previous".into()) })
    }

    /// Passwords tell secrets apart without showing them.
    fn in_force(follower: &Follower) -> Option<[Option<String>; 2]> {
        let password = |secret: &Secret| secret.password("1:a");
        follower.secrets().map(|s| [Some(password(&s.current)), s.previous.as_ref().map(password)])
    }

    fn passwords(current: &str, previous: Option<&str>) -> [Option<String>; 2] {
        [Some(current), previous].map(|secret| secret.map(|secret| found(secret).secret.password("1:a")))
    }

    #[test]
    fn nothing_is_in_force_before_the_current_secret_was_read_once() {
        let mut follower = follower();
        assert_eq!(follower.take(Err(SecretFileError::Missing), Some(Ok(found("old")))), Look::Changed);
        assert_eq!(in_force(&follower), None);
        assert_eq!(follower.take(Ok(found("new")), Some(Ok(found("old")))), Look::Changed);
        assert_eq!(in_force(&follower).unwrap(), passwords("new", Some("old")));
    }

    #[test]
    fn a_rotation_that_is_seen_half_refuses_nobody_who_is_let_in_before_and_after_it() {
        type Files = (&'static str, Option<&'static str>);
        // As a rotation goes, by file or by directory, and then the next one.
        let by_directory: &[Files] = &[("a", None), ("b", Some("a")), ("b", None), ("c", Some("b")), ("d", Some("c"))];
        let by_file: &[Files] = &[("a", None), ("a", Some("a")), ("b", Some("a")), ("b", Some("b")), ("c", Some("b"))];
        for pair in by_directory.windows(2).chain(by_file.windows(2)) {
            let (before, after) = (pair[0], pair[1]);
            let mut follower = follower();
            let file = |files: Files, path: &Path| match path.to_str() {
                Some("current") => Ok(found(files.0)),
                _ => files.1.map(found).ok_or(SecretFileError::Missing),
            };
            follower.look_with(|path| file(before, path));
            let mut reads = 0;
            follower.look_with(|path| {
                reads += 1;
                file(if reads == 1 { before } else { after }, path)
            });
            let in_force = in_force(&follower).unwrap();
            let holds = |files: Files, secret| files.0 == secret || files.1 == Some(secret);
            for secret in ["a", "b", "c", "d"].into_iter().filter(|s| holds(before, s) && holds(after, s)) {
                let [password, _] = passwords(secret, None);
                assert!(in_force.contains(&password), "{secret} between {before:?} and {after:?}");
            }
        }
    }

    #[test]
    fn a_file_that_vanishes_or_is_empty_keeps_its_last_secret() {
        for error in [SecretFileError::Missing, SecretFileError::Unusable(SecretError::Empty)] {
            let mut follower = follower();
            follower.take(Ok(found("new")), Some(Ok(found("old"))));
            assert_eq!(follower.take(Err(error), Some(Err(SecretFileError::Missing))), Look::Failed);
            assert_eq!(in_force(&follower).unwrap(), passwords("new", Some("old")));
        }
    }

    #[test]
    fn removing_the_previous_file_ends_a_rotation() {
        let mut follower = follower();
        follower.take(Ok(found("new")), Some(Ok(found("old"))));
        assert_eq!(follower.take(Ok(found("new")), Some(Err(SecretFileError::Missing))), Look::Changed);
        assert_eq!(in_force(&follower).unwrap(), passwords("new", None));
        assert_eq!(follower.take(Ok(found("new")), Some(Err(SecretFileError::Missing))), Look::Same);
    }

    #[test]
    fn a_secret_file_is_read_without_the_white_space_around_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, " north\n").unwrap();
        let secret = read_file(&path).unwrap();
        assert_eq!(secret.password("1:a"), found("north").secret.password("1:a"));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read_file(&path), Err(SecretFileError::Unusable(SecretError::Empty))));
        assert!(matches!(read_file(&directory.path().join("no")), Err(SecretFileError::Missing)));
    }
}
