//! `/metrics`: read from the counters of the threads when somebody asks, so that counting costs them nothing more.
// Prometheus keeps every sample as a 64-bit float.
#![allow(clippy::cast_precision_loss)]

mod limits;
mod machine;
mod peer_rules;
mod refusals;
mod relaying;
mod streams;
mod tls;

use std::{fmt, sync::Arc, time::Instant};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use rtcfleet_node_api::NodeState;

use crate::{
    node::{Node, VERSION},
    process,
    turn::{
        io::counters::SendFailure,
        proto::{Drop, Method, Move, Outcome, ShardSnapshot},
        role::Turn,
    },
};

pub struct Metrics(Registry);

impl Metrics {
    pub fn new(node: Arc<Node>) -> Self {
        Self::of(NodeCollector(node))
    }

    /// Of a role that has metrics of its own.
    pub fn of(collector: impl Collector) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector));
        Self(registry)
    }

    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0)?;
        Ok(out)
    }
}

#[derive(Debug)]
struct NodeCollector(Arc<Node>);

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        process_metrics(&mut page)?;
        node_metrics(&mut page, &self.0)?;
        self.0.machine.seen(Instant::now()).map_or(Ok(()), |seen| machine::metrics(&mut page, &seen))?;
        peer_rules::metrics(&mut page, &self.0.peer_rules.read())?;
        self.0.relaying.last().map_or(Ok(()), |last| relaying::metrics(&mut page, &last))?;
        self.0.turn().map_or(Ok(()), |turn| turn_metrics(&mut page, turn))
    }
}

/// Metrics being written: a family a call.
pub struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, unit, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

/// The names that every Prometheus client library uses.
pub fn process_metrics(page: &mut Page<'_>) -> fmt::Result {
    let Some(process) = process::read() else { return Ok(()) };
    page.gauge("process_resident_memory", "Memory in RAM.", Some(&Unit::Bytes), process.resident_bytes as f64)?;
    page.counter("process_cpu", "Processor time used, user and system.", Some(&Unit::Seconds), process.cpu_seconds)?;
    page.gauge("process_open_fds", "Open file descriptors.", None, process.open_fds as f64)?;
    page.gauge("process_max_fds", "Limit on open file descriptors.", None, process.max_fds as f64)
}

pub fn build_metrics(page: &mut Page<'_>) -> fmt::Result {
    page.gauges("rtcfleet_build_info", "Release of this binary; always 1.", [([("version", VERSION)], 1.0)])
}

fn node_metrics(page: &mut Page<'_>, node: &Node) -> fmt::Result {
    build_metrics(page)?;
    let state = node.state();
    let states = [NodeState::Starting, NodeState::Active, NodeState::Draining, NodeState::Drained];
    let rows = states.map(|each| ([("state", state_label(each))], f64::from(u8::from(each == state))));
    page.gauges("rtcfleet_turn_state", "1 for the state that the node is in, 0 for the others.", rows)?;
    let deadline = node.drain().map_or(0.0, |drain| drain.deadline.as_second() as f64);
    page.gauge(
        "rtcfleet_turn_drain_deadline_timestamp",
        "When the sessions left by the drain are ended, since 1970; 0 without a drain.",
        Some(&Unit::Seconds),
        deadline,
    )
}

fn state_label(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Drained => "drained",
    }
}

fn moves(page: &mut Page<'_>, totals: &ShardSnapshot) -> fmt::Result {
    page.counters(
        "rtcfleet_turn_moves",
        "Allocations that came to another address of their client, within a thread or between threads.",
        Move::ALL.iter().map(|kind| ([("kind", kind.label())], totals.moves(*kind))),
    )
}

fn turn_metrics(page: &mut Page<'_>, turn: &Turn) -> fmt::Result {
    let shards: Vec<_> = turn.shards().map(|(shard, counts)| (shard.to_string(), counts)).collect();
    let threads: Vec<_> = turn.io_counters().map(|(shard, counts)| (shard.to_string(), counts)).collect();
    let totals = turn.shared.totals();

    page.gauges(
        "rtcfleet_turn_allocations",
        "Live allocations.",
        shards.iter().map(|(shard, counts)| ([("shard", shard.as_str())], counts.allocations as f64)),
    )?;
    let by_direction = |to_peer: fn(&ShardSnapshot) -> u64, to_client: fn(&_) -> u64| {
        shards
            .iter()
            .flat_map(|(shard, counts)| {
                let labels = |direction| [("shard", shard.as_str()), ("direction", direction)];
                [(labels("to_peer"), to_peer(counts)), (labels("to_client"), to_client(counts))]
            })
            .collect::<Vec<_>>()
    };
    page.counters(
        "rtcfleet_turn_relayed_packets",
        "Packets relayed between clients and peers.",
        by_direction(|c| c.packets_to_peers, |c| c.packets_to_clients),
    )?;
    page.counters(
        "rtcfleet_turn_relayed_bytes",
        "Payload bytes relayed between clients and peers, without any header.",
        by_direction(|c| c.bytes_to_peers, |c| c.bytes_to_clients),
    )?;
    page.counters(
        "rtcfleet_turn_dropped_packets",
        "Packets that went no further and were not answered.",
        Drop::ALL.iter().map(|why| ([("reason", why.label())], totals.dropped(*why))),
    )?;
    let answers = Method::ALL.iter().flat_map(|method| Outcome::ALL.iter().map(move |outcome| (*method, *outcome)));
    page.counters(
        "rtcfleet_turn_requests",
        "Requests answered, by how: success or the error code.",
        answers
            .map(|(method, outcome)| {
                ([("method", method.label()), ("outcome", outcome.label())], totals.requests(method, outcome))
            })
            // Most pairs cannot happen; what has not happened yet is left out with them.
            .filter(|(_, count)| *count > 0),
    )?;
    refusals::metrics(page, turn, &totals)?;
    moves(page, &totals)?;
    page.gauges(
        "rtcfleet_turn_relay_ports_used",
        "Relay sockets open now.",
        threads.iter().map(|(shard, io)| ([("shard", shard.as_str())], io.relays_open() as f64)),
    )?;
    page.gauge(
        "rtcfleet_turn_relay_ports",
        "Relay ports that there are, over all relay addresses.",
        None,
        turn.relay_ports() as f64,
    )?;
    page.counters(
        "rtcfleet_turn_relay_ports_not_opened",
        "Relay sockets that could not be opened for want of file descriptors, memory or the address.",
        threads.iter().map(|(shard, io)| ([("shard", shard.as_str())], io.relays_not_opened())),
    )?;
    page.counters(
        "rtcfleet_turn_send_failures",
        "Datagrams that the kernel did not take.",
        SendFailure::ALL
            .map(|why| ([("reason", why.label())], threads.iter().map(|(_, io)| io.send_failures(why)).sum::<u64>())),
    )?;
    page.counters(
        "rtcfleet_turn_icmp_errors",
        "ICMP errors about relayed datagrams.",
        threads.iter().map(|(shard, io)| ([("shard", shard.as_str())], io.icmp_errors())),
    )?;
    page.counters(
        "rtcfleet_turn_listener_overflows",
        "Datagrams from clients that were lost because a listener's receive buffer was full.",
        threads.iter().map(|(shard, io)| ([("shard", shard.as_str())], io.listener_overflows())),
    )?;
    streams::metrics(page, turn)?;
    turn.certificate().map_or(Ok(()), |certificate| tls::metrics(page, certificate))?;
    turn.limits().map_or(Ok(()), |file| limits::metrics(page, file))?;
    let secrets = turn.secrets.read();
    page.gauge(
        "rtcfleet_turn_secrets_changed_timestamp",
        "When the secrets in force were read, since 1970.",
        Some(&Unit::Seconds),
        secrets.changed_at as f64,
    )?;
    page.gauge(
        "rtcfleet_turn_secrets_stale",
        "1 while a secret file cannot be used and the last value stays in force.",
        None,
        f64::from(u8::from(secrets.stale)),
    )?;
    page.counter(
        "rtcfleet_turn_secrets_read_errors",
        "Looks at the secret files that failed.",
        None,
        secrets.errors as f64,
    )
}
