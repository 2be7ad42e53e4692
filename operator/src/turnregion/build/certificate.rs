//! When the certificate of a region's admin ports is made anew. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

use crate::ca::needs_renewal;

/// Nodes read a renewed certificate without a restart, so it can be short.
pub const VALIDITY: SignedDuration = SignedDuration::from_hours(90 * 24);

pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
pub const CA: &str = "ca.crt";

/// Why a certificate must be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Missing,
    /// It was made by another CA.
    OtherCa,
    /// Half of its life is over, or it cannot be read.
    Old,
}

impl Due {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::OtherCa => "OtherCa",
            Self::Old => "Old",
        }
    }
}

/// `None` while the one in `secret` is good.
pub fn due(secret: Option<&Secret>, ca_pem: &str, now: Timestamp) -> Option<Due> {
    let text = |key: &str| {
        let value = secret?.data.as_ref()?.get(key)?;
        std::str::from_utf8(&value.0).ok()
    };
    let (Some(certificate), Some(_), Some(ca)) = (text(CERTIFICATE), text(KEY), text(CA)) else {
        return Some(Due::Missing);
    };
    if ca != ca_pem {
        return Some(Due::OtherCa);
    }
    needs_renewal(certificate, now).then_some(Due::Old)
}
