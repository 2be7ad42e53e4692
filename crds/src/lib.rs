//! The `rtcfleet.dev/v1alpha1` API: one file a kind, the conditions that all kinds share, and the generator of the
//! CustomResourceDefinitions (`crdgen`, which writes `crds/generated/`).
//!
//! Rules for every kind:
//! - durations are strings (`30s`, `10m`, `1h`), sizes are Kubernetes quantities, ratios are integer percents;
//! - every list has `maxItems` and every string `maxLength`, so that the CEL rules fit the API server's cost budget;
//! - a rule's message says what to write instead;
//! - the operator never writes into `spec`; what it decided stands in `status`, which starts at
//!   `observedGeneration: -1` so that an object nobody has looked at does not count as healthy.

pub mod condition;
pub mod definition;
pub mod dns_failover;
pub mod duration;
pub mod reference;
pub mod turn_region;
pub mod unknown;

pub use condition::{Conditions, ConditionsExt};
pub use dns_failover::{DnsFailover, DnsFailoverSpec, DnsFailoverStatus};
pub use duration::{Duration, Interval};
pub use turn_region::{TurnRegion, TurnRegionSpec, TurnRegionStatus};

/// API group of every kind.
pub const GROUP: &str = "rtcfleet.dev";
/// Served and stored version.
pub const VERSION: &str = "v1alpha1";

/// Labels that the operator puts on what it makes.
pub mod labels {
    pub const NAME: &str = "app.kubernetes.io/name";
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Value of [`MANAGED_BY`].
    pub const MANAGER: &str = "rtc-fleet";
    /// Name of the TurnRegion that an object belongs to.
    pub const TURN_REGION: &str = "rtcfleet.dev/turnregion";
    /// Name of the DnsFailover that an object belongs to.
    pub const DNS_FAILOVER: &str = "rtcfleet.dev/dnsfailover";
    /// Name of the vantage point that an object belongs to.
    pub const VANTAGE_POINT: &str = "rtcfleet.dev/vantage-point";
    /// Number of the slot that an object belongs to, from 0.
    pub const SLOT: &str = "rtcfleet.dev/slot";
    /// Where a machine is; what `spec.region` is compared with.
    pub const REGION: &str = "topology.kubernetes.io/region";
}
