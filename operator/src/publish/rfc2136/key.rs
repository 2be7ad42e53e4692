//! The key that signs updates.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::rr::{Name, TSigner, rdata::tsig::TsigAlgorithm};

use crate::publish::DnsName;

/// Seconds that clocks may differ: what RFC 8945 section 10 recommends.
const FUDGE: u16 = 300;
/// Octets. 128 bits; tsig-keygen makes as many as the hash has.
const SHORTEST: usize = 16;
/// Octets. Longer than the block of SHA-512, a key is hashed anyway (RFC 2104 section 2).
const LONGEST: usize = 512;

/// What servers of today have in common, and RFC 8945 section 6 does not advise against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    fn of_hickory(self) -> TsigAlgorithm {
        match self {
            Self::HmacSha256 => TsigAlgorithm::HmacSha256,
            Self::HmacSha384 => TsigAlgorithm::HmacSha384,
            Self::HmacSha512 => TsigAlgorithm::HmacSha512,
        }
    }
}

impl FromStr for Algorithm {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let is_it = |algorithm: &Self| algorithm.as_str().eq_ignore_ascii_case(text.trim_end_matches('.'));
        Self::ALL.into_iter().find(is_it).ok_or(NoKey::Algorithm)
    }
}

/// None of them holds any of the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoKey {
    #[error("the algorithm is not one that is supported: write hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm,
    #[error(
        "the secret is no base64: write only what stands between the quotes behind `secret` in the key of the server"
    )]
    NoBase64,
    #[error("the secret has {octets} octets: write one of {SHORTEST} to {LONGEST}; tsig-keygen makes one")]
    Length { octets: usize },
    #[error("the key cannot be used for signing")]
    Unusable,
}

/// Name, algorithm and secret of a TSIG key. `Debug` shows nothing of the secret.
#[derive(Clone)]
pub struct TsigKey {
    name: DnsName,
    algorithm: Algorithm,
    signer: TSigner,
}

impl TsigKey {
    /// `secret` is base64, as servers have it in their configuration; space around it does not count.
    pub fn new(name: DnsName, algorithm: Algorithm, secret: &str) -> Result<Self, NoKey> {
        let secret = STANDARD.decode(secret.trim()).map_err(|_| NoKey::NoBase64)?;
        let octets = secret.len();
        if !(SHORTEST..=LONGEST).contains(&octets) {
            return Err(NoKey::Length { octets });
        }
        let signer = Name::from_ascii(name.as_str())
            .ok()
            .and_then(|name| TSigner::new(secret, algorithm.of_hickory(), name, FUDGE).ok())
            .ok_or(NoKey::Unusable)?;
        Ok(Self { name, algorithm, signer })
    }

    pub fn name(&self) -> &DnsName {
        &self.name
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn signer(&self) -> &TSigner {
        &self.signer
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_nothing_of_its_secret() {
        let secret = STANDARD.encode([7; 32]);
        let key = TsigKey::new("k.example".parse().unwrap(), Algorithm::HmacSha256, &format!(" {secret}\n")).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, "TsigKey { name: DnsName(\"k.example\"), algorithm: HmacSha256, .. }");
    }

    #[test]
    fn a_wrong_secret_is_told_without_telling_it() {
        let key = |secret: &str| TsigKey::new("k".parse().unwrap(), Algorithm::HmacSha512, secret).map(|_| ());
        let short = STANDARD.encode([7; 15]);
        for (secret, expected) in [
            ("key \"k\" { secret \"c2VjcmV0\"; };", NoKey::NoBase64),
            (short.as_str(), NoKey::Length { octets: 15 }),
            ("", NoKey::Length { octets: 0 }),
        ] {
            assert_eq!(key(secret), Err(expected), "{secret}");
        }
    }

    #[test]
    fn algorithms_are_read_as_servers_spell_them() {
        for text in ["hmac-sha384", "HMAC-SHA384", "hmac-sha384."] {
            assert_eq!(text.parse(), Ok(Algorithm::HmacSha384), "{text}");
        }
        assert_eq!("hmac-md5".parse::<Algorithm>(), Err(NoKey::Algorithm));
    }
}
