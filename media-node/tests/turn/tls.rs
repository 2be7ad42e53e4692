//! Clients over TLS, and what else comes to a listener for it.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::{
    PEER,
    admin::Admin,
    caller::echo,
    node::{Node, Plan},
    stream::{Stream, trusting, write_certificate},
    streams::{HERE, bombard, call, caller, read_late, until},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn plan() -> (Plan, SocketAddr) {
    let mut plan = Plan::new();
    write_certificate(&plan);
    plan.more = "tls: {certificate: turn.crt, key: turn.key}".into();
    let tls = plan.listen("TLS", HERE);
    (plan, tls)
}

fn start() -> (Node, SocketAddr) {
    let (plan, tls) = plan();
    (plan.start(), tls)
}

fn config(node: &Node, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    Arc::new(trusting(&node.plan, version))
}

fn handshakes(node: &Node, result: &str) -> u64 {
    node.metric(&format!("rtcfleet_turn_tls_handshakes_total{{result=\"{result}\"}}"))
}

#[test]
fn a_caller_over_tls_1_2_and_1_3_talks_to_a_peer_by_indication_and_by_channel() {
    let (node, tls) = start();
    for version in VERSIONS {
        let stream = Stream::tls(tls, &config(&node, version)).unwrap();
        let mut alice = caller(&node, stream, "alice");
        call(&mut alice);
        assert_eq!(node.metric("rtcfleet_turn_connections{transport=\"tls\"}"), 1, "{version:?}");
        alice.stream().end();
        assert_eq!(alice.stream().hear(), None, "the farewell is answered");
        until("the allocation ends", || node.metric("rtcfleet_turn_allocations") == 0);
    }
    assert_eq!((handshakes(&node, "full"), handshakes(&node, "failed")), (2, 0));
}

#[test]
fn a_client_over_tls_that_does_not_read_loses_media_and_not_its_connection() {
    let (node, tls) = start();
    read_late(&node, &mut caller(&node, Stream::tls(tls, &config(&node, &TLS13)).unwrap(), "alice"));
}

#[test]
fn mutated_messages_in_tls_and_of_tls_cost_the_connection_that_they_come_on_and_nothing_else() {
    let (node, tls) = start();
    let config = config(&node, &TLS13);
    let mut alice = caller(&node, Stream::tls(tls, &config).unwrap(), "alice");
    bombard(&node, &mut alice, || Stream::tls(tls, &config).unwrap());
    let mut hello = Vec::new();
    let name = rustls::pki_types::ServerName::try_from(crate::stream::NAME).unwrap();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    for at in 1..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 0x55;
        let _ = Stream::plain(tls).try_send(&changed);
    }
    until("all other connections have ended", || node.metric("rtcfleet_turn_connections") == 1);
    assert!(handshakes(&node, "failed") > 50, "most of them");
    assert_eq!(alice.refresh(600), 0);
}

#[test]
fn plain_turn_on_a_tls_listener_is_served_as_tcp() {
    let (node, tls) = start();
    let mut alice = caller(&node, Stream::plain(tls), "alice");
    call(&mut alice);
    assert_eq!(node.metric("rtcfleet_turn_connections{transport=\"tcp\"}"), 1);
    assert_eq!(node.metric("rtcfleet_turn_connections{transport=\"tls\"}"), 0);
}

#[test]
fn what_is_neither_tls_nor_turn_is_closed() {
    let (node, tls) = start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x80", b"\x15\x03\x01", b"\x00\x01\x00\x00\x00\x00\x00\x00"] {
        let mut stream = Stream::plain(tls);
        stream.send(garbage);
        assert_eq!(stream.hear(), None, "{garbage:?}");
    }
    assert_eq!(node.metric("rtcfleet_turn_connections_closed_total{reason=\"not_turn\"}"), 4);
}

#[test]
fn protocols_of_rfc_7443_are_agreed_on_and_others_get_the_alert_that_says_so() {
    let (node, tls) = start();
    for version in VERSIONS {
        for (offered, agreed) in [("stun.turn", true), ("stun.nat-discovery", true), ("h2", false)] {
            let mut config = trusting(&node.plan, version);
            config.alpn_protocols = vec![b"webrtc".to_vec(), offered.as_bytes().to_vec()];
            match Stream::tls(tls, &Arc::new(config)) {
                Ok(stream) => {
                    assert!(agreed, "{offered}");
                    assert_eq!(stream.tls.unwrap().alpn_protocol(), Some(offered.as_bytes()));
                }
                Err(error) => {
                    assert!(!agreed, "{offered}: {error}");
                    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
                }
            }
        }
    }
    assert_eq!(handshakes(&node, "failed"), 2);
    assert_eq!(node.metric("rtcfleet_turn_connections_closed_total{reason=\"tls\"}"), 2);
}

#[test]
fn sessions_are_resumed_in_both_versions_also_after_the_certificate_has_changed() {
    let (node, tls) = start();
    for version in VERSIONS {
        let config = config(&node, version);
        let connect = || {
            let mut stream = Stream::tls(tls, &config).unwrap();
            let resumed = stream.is_resumed();
            // The tickets of TLS 1.3 come behind the handshake.
            let mut client = media_node::turn::proto::test_support::Client::new(tls, stream.own(), "", "");
            stream.send(&client.request(media_node::turn::proto::message::method::BINDING).bare());
            stream.hear().unwrap();
            resumed
        };
        assert!(!connect(), "the first of {version:?}");
        // Whichever thread takes it.
        for _ in 0..5 {
            assert!(connect(), "{version:?}");
        }
        write_certificate(&node.plan);
        node.wait_for_line(&["the certificate has changed"]);
        assert!(connect(), "{version:?} with another certificate");
    }
    assert_eq!((handshakes(&node, "full"), handshakes(&node, "resumed")), (2, 12));
}

#[test]
fn a_changed_certificate_is_shown_to_new_connections_while_live_ones_relay_on() {
    let (mut plan, tls) = plan();
    let admin = {
        let more = std::mem::take(&mut plan.more);
        let admin = Admin::new(&mut plan);
        plan.more = format!("{}\n{more}", plan.more);
        admin
    };
    let node = plan.start();
    let first = Stream::tls(tls, &config(&node, &TLS13)).unwrap();
    let shown = first.certificate();
    let mut alice = caller(&node, first, "alice");
    let peer = echo(PEER);
    assert_eq!((alice.allocate().code(), alice.bind_channel(0x4000, peer)), (0, 0));

    let new = write_certificate(&node.plan);
    node.wait_for_line(&["the certificate has changed"]);
    assert_ne!(new, shown);
    assert_eq!(Stream::tls(tls, &config(&node, &TLS13)).unwrap().certificate(), new);
    assert_eq!(alice.channel_echo(0x4000, b"on and on"), b"\x40\x00\x00\x09on and on\0\0\0");
    let status = admin.status().certificate.expect("a certificate");
    assert_eq!(status.problem, None);
    assert_eq!(
        node.metric("rtcfleet_turn_certificate_not_after_timestamp_seconds"),
        status.not_after.as_second().unsigned_abs()
    );

    node.plan.write("turn.key", "no key");
    node.wait_for_line(&["the certificate's files cannot be used"]);
    assert_eq!(Stream::tls(tls, &config(&node, &TLS13)).unwrap().certificate(), new, "the last good one");
    let status = admin.status().certificate.expect("a certificate");
    assert!(status.problem.is_some_and(|problem| problem.starts_with("tls.key: ")));
    assert_eq!(node.metric("rtcfleet_turn_certificate_stale"), 1);
    assert!(node.metric("rtcfleet_turn_certificate_reload_errors_total") >= 1);
}

#[test]
fn a_node_waits_for_its_certificate_alive_but_not_ready() {
    let (plan, tls) = plan();
    std::fs::remove_file(plan.directory.path().join("turn.crt")).unwrap();
    let output = plan.command().arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("tls.certificate: ") && output.status.code() == Some(2), "{said}");
    let node = plan.spawn();
    node.wait_for_line(&["waiting for the certificate of TLS listeners"]);
    assert_eq!((node.get("/healthz").0, node.get("/readyz").0), (200, 503));
    write_certificate(&node.plan);
    node.wait_for_state("Active");
    call(&mut caller(&node, Stream::tls(tls, &config(&node, &TLS12)).unwrap(), "alice"));
}
