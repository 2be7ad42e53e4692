//! TURN REST credentials (draft-uberti-behave-turn-rest-00): usernames that expire, passwords derived from a secret.
//!
//! A username is `expiry` or `expiry:user`, with `expiry` in unix seconds; its password is
//! base64(HMAC-SHA1(secret, username)). Both are ASCII as far as we make them, and a realm is ASCII
//! (see `Realm`), so OpaqueString and SASLprep change nothing; the username goes into keys as the client sent it, for a
//! client must have prepared it (RFC 8489 section 14.3).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Longest username (RFC 8489 section 14.3: fewer than 509 bytes).
pub const USERNAME_MAX: usize = 508;

/// One shared secret. `Debug` shows nothing of it, and it cannot be compared: what proves that somebody has it are MACs.
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
        let mut mac =
            Hmac::<Sha1>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(username.as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
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

impl Secrets {
    /// The current one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// A username in the form of the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RestUsername<'a> {
    /// Unix seconds.
    expiry: u64,
    /// Whom the quota counts: what follows the colon, empty if there is none.
    pub(super) user: &'a str,
}

impl<'a> RestUsername<'a> {
    pub(super) fn parse(username: &'a str) -> Option<Self> {
        let (expiry, user) = username.split_once(':').unwrap_or((username, ""));
        // `parse` alone would take "+5".
        let digits = !expiry.is_empty() && expiry.bytes().all(|b| b.is_ascii_digit());
        let expiry = expiry.parse().ok().filter(|_| digits)?;
        Some(Self { expiry, user })
    }

    /// Neither expired, nor good for longer than anybody should have been given.
    pub(super) fn valid(self, now: u64, max_ttl: Duration) -> bool {
        now < self.expiry && self.expiry - now <= max_ttl.as_secs()
    }
}

/// How a password becomes a key (RFC 8489 section 18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    Md5,
    Sha256,
}

impl PasswordAlgorithm {
    /// The value of PASSWORD-ALGORITHMS, the better one first: numbers and empty parameters.
    pub const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

    /// From the value of PASSWORD-ALGORITHM.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        match value {
            [0, 1, 0, 0] => Some(Self::Md5),
            [0, 2, 0, 0] => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// What integrity is computed with (RFC 8489 section 9.2.2). `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; 32],
    algorithm: PasswordAlgorithm,
}

impl Key {
    pub fn new(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts = [username, ":", realm, ":", password];
        let mut bytes = [0; 32];
        match algorithm {
            PasswordAlgorithm::Md5 => bytes[..16].copy_from_slice(&digest::<Md5>(&parts)),
            PasswordAlgorithm::Sha256 => bytes.copy_from_slice(&digest::<Sha256>(&parts)),
        }
        Self { bytes, algorithm }
    }

    pub fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self.algorithm {
            PasswordAlgorithm::Md5 => &self.bytes[..16],
            PasswordAlgorithm::Sha256 => &self.bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The value of USERHASH (RFC 8489 section 14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    digest::<Sha256>(&[username, ":", realm]).into()
}

fn digest<D: Digest>(parts: &[&str]) -> sha2::digest::Output<D> {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}
