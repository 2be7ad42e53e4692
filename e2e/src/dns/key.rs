//! The key that may update the zone.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::rr::{Name, TSigner, rdata::tsig::TsigAlgorithm};
use rand::random;

/// Seconds that clocks may differ (RFC 8945 section 10).
const FUDGE: u16 = 300;

pub struct Key {
    octets: [u8; 32],
    text: String,
}

impl Key {
    pub const NAME: &str = "rtc-fleet-e2e";
    pub const ALGORITHM: &str = "hmac-sha256";

    /// With a secret that nobody else has.
    pub fn new() -> Self {
        let octets: [u8; 32] = random();
        Self { octets, text: STANDARD.encode(octets) }
    }

    /// Base64, as servers and Secrets have it.
    pub fn secret(&self) -> &str {
        &self.text
    }

    pub fn signer(&self) -> Result<TSigner> {
        Ok(TSigner::new(self.octets.to_vec(), TsigAlgorithm::HmacSha256, Name::from_ascii(Self::NAME)?, FUDGE)?)
    }
}
