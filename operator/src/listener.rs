//! Where a node is open to clients.

use rtcfleet_crds::turn_region::Protocol;

/// One port that a node opens, on every address of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerPort {
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}
