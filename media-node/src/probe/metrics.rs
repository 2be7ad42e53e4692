//! `/metrics` of a prober. Labels are names of targets, as the configuration has them, and enums.
// Prometheus keeps every sample as a 64-bit float.
#![allow(clippy::cast_precision_loss)]

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use rtcfleet_node_api::Stage;

use super::{
    board::{BUCKETS, Board, Record, Skip},
    target::{Key, transport_label},
};
use crate::metrics::{Page, build_metrics, process_metrics};

#[derive(Debug)]
pub struct ProbeCollector(pub Arc<Board>);

impl Collector for ProbeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        process_metrics(&mut page)?;
        build_metrics(&mut page)?;
        of_prober(&mut page, &self.0)?;
        let records = self.0.records();
        sessions(&mut page, &records)?;
        rtts(&mut page, &records)?;
        certificates(&mut page, &records)?;
        security(&mut page, &records)
    }
}

/// How a stage is called in metrics and tables.
pub fn stage_label(stage: Stage) -> &'static str {
    match stage {
        Stage::Resolve => "resolve",
        Stage::Connect => "connect",
        Stage::Tls => "tls",
        Stage::Allocate => "allocate",
        Stage::Permission => "permission",
        Stage::Echo => "echo",
        Stage::Refresh => "refresh",
    }
}

type Records = BTreeMap<Key, Record>;

fn labels(key: &Key) -> [(&'static str, &str); 2] {
    [("target", key.name.as_str()), ("transport", transport_label(key.transport))]
}

fn and<'a>(
    [target, transport]: [(&'static str, &'a str); 2],
    more: (&'static str, &'a str),
) -> [(&'static str, &'a str); 3] {
    [target, transport, more]
}

fn of_prober(page: &mut Page<'_>, board: &Board) -> fmt::Result {
    let flag = |on: bool| f64::from(u8::from(on));
    page.gauge(
        "rtcfleet_probe_canary",
        "1 while this prober can reach anything at all; while it is 0 its verdicts do not count.",
        None,
        flag(board.canary(Instant::now()).ok),
    )?;
    page.gauge(
        "rtcfleet_probe_config_stale",
        "1 while the configuration file cannot be used and the last one stays in force.",
        None,
        flag(board.config_stale()),
    )?;
    page.counters(
        "rtcfleet_probe_skipped",
        "Probes that were left out when their time had come.",
        Skip::ALL.map(|why| ([("reason", why.label())], board.skipped(why))),
    )
}

fn sessions(page: &mut Page<'_>, records: &Records) -> fmt::Result {
    page.gauges(
        "rtcfleet_probe_up",
        "1 if a caller could use the target when it was last probed.",
        records.iter().filter_map(|(key, record)| {
            let last = record.last.as_ref()?;
            Some((labels(key), f64::from(u8::from(last.ok))))
        }),
    )?;
    page.counters(
        "rtcfleet_probe_sessions",
        "Probes that ended, by the stage that failed.",
        records.iter().flat_map(|(key, record)| {
            let failed = record.failed.iter().map(|(stage, count)| (stage_label(*stage), *count));
            std::iter::once(("ok", record.passed))
                .chain(failed)
                .map(|(outcome, count)| (and(labels(key), ("outcome", outcome)), count))
        }),
    )?;
    page.counters(
        "rtcfleet_probe_packets",
        "Packets sent through relays, by whether they came back.",
        records.iter().flat_map(|(key, record)| {
            let row = |result, count| (and(labels(key), ("result", result)), count);
            [row("arrived", record.packets_arrived), row("lost", record.packets_lost)]
        }),
    )
}

fn rtts(page: &mut Page<'_>, records: &Records) -> fmt::Result {
    let help = "From client to relay and back, of every packet that came back.";
    let mut family =
        page.0.encode_descriptor("rtcfleet_probe_rtt", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (key, record) in records {
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(record.rtt_counts).collect();
        let count = record.rtt_counts.iter().sum();
        family.encode_family(&labels(key))?.encode_histogram::<NoLabelSet>(record.rtt_sum, count, &buckets, None)?;
    }
    Ok(())
}

fn certificates(page: &mut Page<'_>, records: &Records) -> fmt::Result {
    let end = |record: &Record| record.last.as_ref()?.certificate_not_after;
    let name = "rtcfleet_probe_certificate_not_after_timestamp_seconds";
    page.gauges(
        name,
        "When the certificate that the target shows ends, since 1970.",
        records.iter().filter_map(|(key, record)| Some((labels(key), end(record)?.as_second() as f64))),
    )
}

fn security(page: &mut Page<'_>, records: &Records) -> fmt::Result {
    page.gauges(
        "rtcfleet_probe_security_alarm",
        "1 while the target grants what it must refuse.",
        records.iter().flat_map(|(key, record)| {
            let flags = record.security().map(|found| {
                let row = |kind, on: bool| (and(labels(key), ("kind", kind)), f64::from(u8::from(on)));
                [
                    row("forbidden_peer_granted", !found.granted_peers.is_empty()),
                    row("wrong_password_accepted", found.accepts_wrong_password),
                ]
            });
            flags.into_iter().flatten()
        }),
    )?;
    page.counters(
        "rtcfleet_probe_security_checks",
        "Looks at what targets must refuse, by whether they could be carried out.",
        records.iter().flat_map(|(key, record)| {
            let row = |result, count| (and(labels(key), ("result", result)), count);
            [row("done", record.security_checks), row("failed", record.security_failures)]
        }),
    )
}
