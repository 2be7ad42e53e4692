//! Connections of clients, summed over the threads.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use super::Page;
use crate::turn::{
    io::streams::counters::{Closed, Handshake, Refused, StreamCounters, TRANSPORTS},
    role::Turn,
};

pub(super) fn metrics(page: &mut Page<'_>, turn: &Turn) -> fmt::Result {
    let sum =
        |count: &dyn Fn(&StreamCounters) -> u64| turn.io_counters().map(|(_, io)| count(&io.streams)).sum::<u64>();
    page.gauges(
        "rtcfleet_turn_connections",
        "Connections of clients open now.",
        TRANSPORTS.map(|(transport, label)| ([("transport", label)], sum(&|c| c.open(transport)) as f64)),
    )?;
    page.counter(
        "rtcfleet_turn_connections_accepted",
        "Connections of clients accepted.",
        None,
        sum(&StreamCounters::accepted_in_all) as f64,
    )?;
    page.counters(
        "rtcfleet_turn_connections_closed",
        "Connections of clients that have ended.",
        Closed::ALL.map(|why| ([("reason", why.label())], sum(&|c| c.ended(why)))),
    )?;
    page.counters(
        "rtcfleet_turn_connections_refused",
        "Connections of clients that were closed as soon as they were there.",
        Refused::ALL.map(|why| ([("reason", why.label())], sum(&|c| c.refusals(why)))),
    )?;
    page.counter(
        "rtcfleet_turn_accept_pauses",
        "Times that no connection was accepted for a moment because the machine had no room for one.",
        None,
        sum(&StreamCounters::accept_pauses) as f64,
    )?;
    page.counters(
        "rtcfleet_turn_tls_handshakes",
        "TLS handshakes that have ended.",
        Handshake::ALL.map(|how| ([("result", how.label())], sum(&|c| c.handshakes(how)))),
    )?;
    page.counter(
        "rtcfleet_turn_slow_reader_drops",
        "Packets for clients that were dropped because the client's connection takes no more.",
        None,
        sum(&StreamCounters::drops) as f64,
    )
}
