//! Conditions as kstatus, `kubectl wait` and Argo CD read them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// All of an object's conditions.
pub type Conditions = Vec<Condition>;

/// This generation has been observed and the least capacity serves. Always present.
pub const READY: &str = "Ready";
/// Work towards the spec is under way. Present only while true.
pub const RECONCILING: &str = "Reconciling";
/// Trying again is useless until somebody changes something. Present only while true.
pub const STALLED: &str = "Stalled";
/// Sessions are being moved off nodes. Apart from [`RECONCILING`], because a drain can last an hour.
pub const DRAINING: &str = "Draining";
/// A part of the spec is accepted but does nothing in this release. Present only while true.
pub const NOT_IN_EFFECT: &str = "NotInEffect";
/// A limit keeps the fleet smaller than it should be. Present only while true.
pub const CAPACITY_LIMITED: &str = "CapacityLimited";

/// Nodes that start cannot check credentials: the Secret, or its current key, is not there. Present only while true.
pub const AUTH_SECRET_MISSING: &str = "AuthSecretMissing";
/// Nodes that start have no certificate for their TLS listeners. Present only while true.
pub const TLS_SECRET_MISSING: &str = "TlsSecretMissing";
/// The certificate of TLS listeners ends soon or has ended, or nodes do not take up the new one. Present only while true.
pub const CERTIFICATE_EXPIRING: &str = "CertificateExpiring";
/// Relays serve by other limits (quotas, peers, capacity) than the spec says. Present only while true.
pub const LIMITS_PENDING: &str = "LimitsPending";
/// Relays grant peers that they must refuse. Present only while true.
pub const PEER_RULES_VIOLATED: &str = "PeerRulesViolated";
/// What a machine's network interface can carry is not known. Present only while true.
pub const CAPACITY_UNKNOWN: &str = "CapacityUnknown";

/// Callers are sent to a region that is not healthy, because nothing better is allowed. Present only while true.
pub const DEGRADED: &str = "Degraded";
/// Too little is known, or too much fails at once: the answer stays as it is. Present only while true.
pub const FROZEN: &str = "Frozen";
/// A person pinned regions, and health does not decide. Present only while true.
pub const OVERRIDDEN: &str = "Overridden";

/// Some vantage points are silent, or reach nothing: they have no vote. Present only while true.
pub const VANTAGE_POINTS_MISSING: &str = "VantagePointsMissing";
/// Probers of ours are not as they should be. Present only while true.
pub const PROBERS_FAILING: &str = "ProbersFailing";
/// Regions that are asked for and are not in the answer. Present only while true.
pub const REGIONS_LEFT_OUT: &str = "RegionsLeftOut";
/// Relays grant probers what they must refuse. Present only while true.
pub const SECURITY_ALARM: &str = "SecurityAlarm";

/// A condition's value, before it is known when it last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub kind: &'static str,
    pub status: Status,
    /// A CamelCase constant.
    pub reason: &'static str,
    /// A sentence for a person. No times and no counts that move on every look.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Longest message that is written; a longer one ends in `…`.
const MAX_MESSAGE: usize = 1024;

/// The conditions to write: `wanted` in its order, each keeping the time of its last transition from `before`
/// unless its status moved. Conditions that are not wanted any more are left out.
pub fn merge(before: &[Condition], wanted: Vec<Wanted>, generation: i64, now: Timestamp) -> Conditions {
    wanted
        .into_iter()
        .map(|Wanted { kind, status, reason, message }| {
            let same = before.iter().find(|old| old.type_ == kind && old.status == status.text());
            Condition {
                type_: kind.to_owned(),
                status: status.text().to_owned(),
                reason: reason.to_owned(),
                message: shortened(message),
                observed_generation: Some(generation),
                last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

fn shortened(message: String) -> String {
    if message.chars().count() <= MAX_MESSAGE {
        return message;
    }
    message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}

/// Looking conditions up.
pub trait ConditionsExt {
    fn condition(&self, kind: &str) -> Option<&Condition>;
    fn is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|found| found.status == "True")
    }
}

impl ConditionsExt for [Condition] {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.iter().find(|condition| condition.type_ == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: Status, reason: &'static str) -> Vec<Wanted> {
        vec![Wanted { kind: READY, status, reason, message: "as it is".into() }]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_does() {
        let first = merge(&[], ready(Status::False, "NodesStarting"), 1, at(10));
        let second = merge(&first, ready(Status::False, "SecretNotFound"), 2, at(20));
        let third = merge(&second, ready(Status::True, "Serving"), 2, at(30));
        let times: Vec<_> = [&first, &second, &third].map(|all| all[0].last_transition_time.0).into();
        assert_eq!(times, [at(10), at(10), at(30)]);
        assert_eq!(second[0].reason, "SecretNotFound");
    }

    #[test]
    fn a_condition_that_is_not_wanted_any_more_is_left_out() {
        let stalled = vec![Wanted { kind: STALLED, status: Status::True, reason: "Invalid", message: String::new() }];
        let before = merge(&[], stalled, 1, at(10));
        let after = merge(&before, ready(Status::True, "Serving"), 1, at(20));
        assert!(after.condition(STALLED).is_none() && after.is_true(READY));
    }

    #[test]
    fn a_message_is_cut_at_its_limit_and_says_so() {
        let long = vec![Wanted { kind: READY, status: Status::False, reason: "Long", message: "é".repeat(5000) }];
        let message = &merge(&[], long, 1, at(10))[0].message;
        assert_eq!((message.chars().count(), message.ends_with('…')), (1024, true));
    }
}
