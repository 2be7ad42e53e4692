//! What probers tell.

use std::net::SocketAddr;
use std::time::Duration;

use rtcfleet_crds::turn_region::Protocol;

/// What one prober told in one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Name of the vantage point.
    pub vantage_point: String,
    /// Changes with every start of the prober: its sequence begins anew.
    pub boot: u64,
    /// Its own canary works: it reaches what always answers. Where it does not, its verdicts say nothing of regions.
    pub canary: bool,
    /// In the order in which they were made.
    pub verdicts: Vec<Verdict>,
}

/// One probe of one relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Rises within a boot. One that was told before counts once.
    pub sequence: u64,
    pub region: String,
    /// Address and port of the relay.
    pub target: SocketAddr,
    pub transport: Protocol,
    pub ok: bool,
    /// How long ago it was made, by the prober's monotonic clock. Its wall clock may say anything.
    pub age: Duration,
}
