//! A node that drains sends new clients to others, and these find what they came for there.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api::{NodeState, SetState};

use crate::{
    admin::Admin,
    caller::{Caller, echo},
    node::{Node, Plan},
    stream::Stream,
};

/// Where the other node listens: on the ports of the first.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

#[derive(Clone, Copy, Debug)]
enum Over {
    Udp,
    Tcp,
}

/// Listens for both transports on one port.
fn plan(listener: SocketAddr) -> Plan {
    let mut plan = Plan::new();
    plan.listener = listener;
    plan.listeners.push(format!("{{protocol: TCP, address: '{listener}'}}"));
    plan
}

fn caller(over: Over, server: SocketAddr, node: &Node) -> Caller {
    let secret = node.plan.directory.path().join("secret");
    match over {
        Over::Udp => Caller::new(server, &secret, "alice"),
        Over::Tcp => Caller::over(Stream::plain(server), &secret, "alice"),
    }
}

#[test]
fn a_client_that_is_sent_elsewhere_relays_there_and_is_taken_again_once_the_node_is_active() {
    let mut first = plan(Plan::new().listener);
    let admin = Admin::new(&mut first);
    let first = first.start();
    let port = first.plan.listener.port();
    let second = plan(SocketAddr::new(OTHER, port)).start();

    let deadline = Timestamp::now() + Duration::from_hours(1);
    let drained = admin.set(&SetState::Draining { deadline, alternates: vec![OTHER] });
    assert_eq!(drained.drain.map(|drain| drain.alternates), Some(vec![OTHER]));
    for over in [Over::Udp, Over::Tcp] {
        let mut caller = caller(over, first.plan.listener, &first);
        let answer = caller.allocate();
        assert_eq!((answer.code(), answer.alternates()), (300, vec![SocketAddr::new(OTHER, port)]), "{over:?}");
        assert!(answer.is_signed_for(&caller.client), "{over:?}");

        let mut followed = self::caller(over, answer.alternates()[0], &first);
        assert_eq!(followed.allocate().code(), 0, "{over:?}");
        let peer = echo(PEER);
        assert_eq!(followed.permit(peer), 0);
        assert_eq!(followed.indication_echo(peer, b"over there"), (Some(peer), b"over there".to_vec()), "{over:?}");

        assert_eq!(admin.set(&SetState::Active).state, NodeState::Active);
        assert_eq!(caller.allocate().code(), 0, "{over:?}");
        assert_eq!((caller.refresh(0), followed.refresh(0)), (0, 0));
        admin.set(&SetState::Draining { deadline, alternates: vec![OTHER] });
    }
    assert_eq!(first.metric_row("rtcfleet_turn_requests_total{method=\"allocate\",outcome=\"300\"}"), 2);
    assert_eq!(first.metric_row("rtcfleet_turn_refusals_total{reason=\"draining\"}"), 0);
    assert_eq!(second.metric_row("rtcfleet_turn_requests_total{method=\"allocate\",outcome=\"success\"}"), 2);
}
