//! Whether this prober can reach anything at all: else what it says is no evidence against anybody.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, Instant},
};

use rtcfleet_node_api as api;
use tokio::{net::TcpStream, time::timeout_at};

use super::{resolve::Resolver, target::Place};
use crate::{
    config::values::Written,
    turn::{
        probe::{client, line::Line, udp::Udp},
        proto::{encode::Writer, message::Class, message::method},
    },
};

/// Something that answers nearly always, and is not what is being judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// Answers a STUN Binding request over UDP.
    Stun(Place),
    /// Accepts a connection.
    Tcp(Place),
}

impl Written for Spot {
    const NAME: &'static str = "a canary";
    const EXAMPLES: &'static [&'static str] = &["stun:stun.example.net:3478", "tcp:192.0.2.1:443"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let instead = || Cow::from(Self::EXAMPLES.join(" or "));
        let (scheme, place) = text.split_once(':').ok_or_else(instead)?;
        let place = Place::parse(place).map_err(|_| instead())?;
        match scheme {
            "stun" => Ok(Self::Stun(place)),
            "tcp" => Ok(Self::Tcp(place)),
            _ => Err(instead()),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stun(place) => write!(f, "stun:{place}"),
            Self::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}

/// Whether `spot` answers within `patience`. UDP requests are sent twice.
pub async fn answers(spot: &Spot, resolver: &Resolver, patience: Duration) -> bool {
    let by = tokio::time::Instant::now() + patience;
    let (Spot::Stun(place) | Spot::Tcp(place)) = spot;
    let Ok(addresses) = resolver.resolve(place, by).await else { return false };
    let Some(address) = addresses.first().copied() else { return false };
    match spot {
        Spot::Tcp(_) => matches!(timeout_at(by, TcpStream::connect(address)).await, Ok(Ok(_))),
        Spot::Stun(_) => {
            let Ok(mut line) = Udp::connect(address).await else { return false };
            let half = by - patience / 2;
            is_bound(&mut line, half).await || is_bound(&mut line, by).await
        }
    }
}

/// Whether a Binding request (RFC 8489 section 12) is answered.
async fn is_bound(line: &mut impl Line, by: tokio::time::Instant) -> bool {
    let (mut transaction, mut bytes) = ([0; 12], Vec::new());
    if getrandom::fill(&mut transaction).is_err() {
        return false;
    }
    Writer::start(&mut bytes, Class::Request, method::BINDING, transaction).finish();
    if line.send(&bytes).await.is_err() {
        return false;
    }
    let answer = crate::turn::probe::line::until(line, |message| client::read(message, transaction));
    matches!(timeout_at(by, answer).await, Ok(Ok(_)))
}

/// What is known when it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Spots in the configuration.
    pub spots: usize,
    /// When one of them answered last.
    pub spot_at: Option<Instant>,
    /// When any target said anything last.
    pub target_at: Option<Instant>,
    /// When this machine last had no socket for a probe.
    pub no_socket_at: Option<Instant>,
    /// When this process last came to its work so late that probes may have failed by that.
    pub starved_at: Option<Instant>,
}

/// How late this process may come to its work, in probes that may take so long, before it is no judge of others: what
/// answers later than a packet is waited for is called lost.
pub fn may_be_late(timeout: Duration) -> Duration {
    timeout / 5
}

/// For how long an answer counts: three tries, and never less than a few seconds.
pub fn memory(interval: Duration) -> Duration {
    (interval * 3).max(Duration::from_secs(3))
}

/// Whether the prober's word counts, and why.
pub fn judge(known: Known, interval: Duration, now: Instant) -> api::Canary {
    let lately = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) <= memory(interval));
    let Known { spots, spot_at, target_at, no_socket_at, starved_at } = known;
    let (ok, detail) = if lately(no_socket_at) {
        (false, "this machine has no sockets left for probes")
    } else if lately(starved_at) {
        (false, "this prober is short of processor time")
    } else {
        match (spots, lately(spot_at), lately(target_at)) {
            (0, _, true) => (true, "a target answered lately"),
            (0, _, false) => (false, "no target answered lately, and no canary is configured"),
            (_, true, _) => (true, "a canary answered lately"),
            (_, false, _) => (false, "no canary answered lately"),
        }
    };
    api::Canary { ok, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_counts_while_something_answers_that_was_chosen_for_it_or_else_any_target() {
        let start = Instant::now();
        let now = start + Duration::from_mins(1);
        let (late, early) = (Some(now), Some(start));
        let quiet = Known { spots: 0, spot_at: None, target_at: None, no_socket_at: None, starved_at: None };
        for (case, known, ok) in [
            ("nothing is known", quiet, false),
            ("a target answered", Known { target_at: late, ..quiet }, true),
            ("long ago", Known { target_at: early, ..quiet }, false),
            ("canaries are silent, whatever targets do", Known { spots: 2, target_at: late, ..quiet }, false),
            ("a canary answered", Known { spots: 2, spot_at: late, ..quiet }, true),
            ("a canary answered long ago", Known { spots: 2, spot_at: early, ..quiet }, false),
            ("no sockets", Known { target_at: late, no_socket_at: late, ..quiet }, false),
            ("no time", Known { target_at: late, starved_at: late, ..quiet }, false),
            ("no time long ago", Known { target_at: late, starved_at: early, ..quiet }, true),
            ("no sockets long ago", Known { target_at: late, no_socket_at: early, ..quiet }, true),
        ] {
            let canary = judge(known, Duration::from_secs(1), now);
            assert_eq!(canary.ok, ok, "{case}: {}", canary.detail);
        }
    }

    #[test]
    fn canaries_are_written_with_their_kind() {
        assert_eq!(Spot::parse("stun:a.example:3478").unwrap().to_string(), "stun:a.example:3478");
        assert_eq!(Spot::parse("tcp:[2001:db8::1]:53").unwrap().to_string(), "tcp:[2001:db8::1]:53");
        for text in ["", "a.example:1", "udp:a.example:1", "stun:a.example"] {
            assert!(Spot::parse(text).is_err(), "{text}");
        }
    }
}
