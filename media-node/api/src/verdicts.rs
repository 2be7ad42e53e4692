//! What a prober says of what it probes: the answer of `GET /v1/verdicts`.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Path of [`Verdicts`].
pub const VERDICTS_PATH: &str = "/v1/verdicts";
/// Largest answer of [`VERDICTS_PATH`], bytes.
pub const MAX_VERDICTS_BODY: usize = 4 * 1024 * 1024;
/// Path that takes the configuration of a prober, as YAML. It is in force from the answer on, [`ConfigTaken`], until another
/// one is put, the file changes, or the process ends.
pub const CONFIG_PATH: &str = "/v1/config";
/// Largest body that [`CONFIG_PATH`] takes, bytes: as large as a configuration file may be.
pub const MAX_CONFIG_BODY: usize = 1024 * 1024;
/// Most targets of one prober.
pub const MAX_TARGETS: usize = 2000;
/// Longest [`Verdict::detail`], [`Canary::detail`] and [`Security::problem`], bytes.
pub const MAX_DETAIL: usize = 300;

/// Everything that one prober knows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verdicts {
    /// Release of the prober.
    pub version: String,
    /// Another number with every start of the prober, below 2^53: [`Verdict::sequence`] begins anew.
    pub boot: u64,
    /// SHA-256 of the configuration in force, lower-case hex: whoever wrote it knows by that whether these targets are its
    /// own.
    pub config_hash: String,
    /// The prober's clock when it answered.
    pub now: Timestamp,
    pub canary: Canary,
    /// The last one of each target that has been probed under this configuration, by name, then transport. At most
    /// [`MAX_TARGETS`]. Without those that were asked not to be told again.
    pub verdicts: Vec<Verdict>,
}

/// The answer of `PUT /v1/config`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigTaken {
    /// SHA-256 of the configuration in force, lower-case hex: of what was put.
    pub config_hash: String,
}

/// Whether this prober can reach anything at all. While it cannot, what it says of targets is no evidence against them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// False: do not count its vote.
    pub ok: bool,
    /// By what it was judged.
    pub detail: String,
}

/// How a client talks to a TURN server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// What a caller needs, in the order that it is needed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The name has an address.
    Resolve,
    /// Somebody accepts the connection. Not over UDP, which has none.
    Connect,
    /// The handshake, the certificate's chain, name and dates.
    Tls,
    /// Allocate with credentials (RFC 8656 section 7).
    Allocate,
    /// `CreatePermission` for the echo peer (RFC 8656 section 10).
    Permission,
    /// Packets through the relay and back.
    Echo,
    /// Refresh with a lifetime of 0 (RFC 8656 section 8).
    Refresh,
}

/// What one prober found of one target when it last tried.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The target's name in the prober's configuration.
    pub target: String,
    pub transport: Transport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What was probed. None: the name has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    pub ok: bool,
    /// The stage that failed. None if `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The error code that the server answered (RFC 8489 section 14.8), if that is how the stage failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Why it failed and what to look at; empty if `ok`. At most [`MAX_DETAIL`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Median of the packets that came back, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_millis: Option<f64>,
    /// Packets sent through the relay this time, and how many of them did not come back.
    pub packets_sent: u32,
    pub packets_lost: u32,
    /// From the first step to the verdict, milliseconds.
    pub took_millis: f64,
    /// When the verdict was made, by the prober's clock.
    pub at: Timestamp,
    /// Which of this prober's verdicts it is, since its start: a later one has a higher number, whatever clocks do.
    pub sequence: u64,
    /// How long ago it was made when it was told, by the prober's monotonic clock, milliseconds.
    pub age_millis: u64,
    /// Verdicts in a row that say the same of `ok`, this one included.
    pub streak: u32,
    /// The end of the certificate's validity. None before there was a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<Timestamp>,
    /// What the server grants that it must refuse. None before the first look. It never makes `ok` false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
}

/// One look at what a server must refuse.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// When it was last carried out to its end.
    pub checked_at: Timestamp,
    /// Peers for which it granted a permission and must not. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted_peers: Vec<IpAddr>,
    /// It granted an allocation to somebody who does not know the secret.
    #[serde(default)]
    pub accepts_wrong_password: bool,
}

impl Security {
    /// Whether somebody has to act at once.
    pub fn is_alarming(&self) -> bool {
        self.accepts_wrong_password || !self.granted_peers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_verdicts_as_there_can_be_fit_into_the_longest_answer() {
        let name = "n".repeat(63);
        let verdict = Verdict {
            target: name.clone(),
            transport: Transport::Udp,
            region: Some(name),
            address: Some("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535".parse().unwrap()),
            ok: false,
            stage: Some(Stage::Permission),
            code: Some(403),
            detail: "\"".repeat(MAX_DETAIL),
            rtt_millis: Some(f64::from(1.0f32 / 3.0)),
            packets_sent: u32::MAX,
            packets_lost: u32::MAX,
            took_millis: 1_234.567,
            at: Timestamp::MAX,
            sequence: u64::MAX,
            age_millis: u64::MAX,
            streak: u32::MAX,
            certificate_not_after: Some(Timestamp::MAX),
            security: Some(Security {
                checked_at: Timestamp::MAX,
                granted_peers: vec!["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".parse().unwrap(); 16],
                accepts_wrong_password: true,
            }),
        };
        let one = serde_json::to_vec(&verdict).unwrap();
        assert!(one.len() * MAX_TARGETS + 4096 < MAX_VERDICTS_BODY, "{} bytes each", one.len());
        assert_eq!(serde_json::from_slice::<Verdict>(&one).unwrap(), verdict);
    }
}
