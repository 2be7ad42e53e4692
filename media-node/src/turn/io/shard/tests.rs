//! One thread's relay sockets, without the thread.

use std::net::{Ipv4Addr, UdpSocket};

use super::*;
use crate::turn::{
    io::streams::{Common, Limits},
    proto::{PortRange, Realm, RelayAddress, RelayAddresses, RelayPorts, Secret, Secrets, ServerConfig, Shared},
};

const LOCAL: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

fn shard() -> Shard {
    let relays = RelayAddresses::new(&[RelayAddress { local: LOCAL, public: LOCAL }]).unwrap();
    let ports = PortRange::parse(60_000, 60_999).unwrap();
    let config = Arc::new(ServerConfig::new(Realm::parse("test").unwrap(), relays, ports));
    let secrets = Secrets { current: Secret::new(b"north").unwrap(), previous: None };
    let shared = Shared::new(&config, 1, secrets, [7; 32]);
    let server = Server::new(config, shared, ShardIndex(0), [7; 32]);
    let mates = Mates { number: ShardIndex(0), controls: vec![Arc::new(Control::new().unwrap())] };
    let descriptors = Arc::new(Descriptors::new(10));
    let common = Arc::new(Common::new(Arc::clone(&descriptors), 10, None, Limits::default()));
    Shard::new(server, mates, Vec::new(), (Vec::new(), common), (descriptors, Arc::default())).unwrap()
}

#[test]
fn datagrams_behind_many_errors_are_seen_although_nothing_follows_them() {
    let mut shard = shard();
    // Nobody else has a socket there for as long as `peer` is open.
    let (peer, closed) = (UdpSocket::bind((LOCAL, 0)).unwrap(), UdpSocket::bind((LOCAL, 0)).unwrap());
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let id = shard.relays.open(LOCAL, 0).unwrap();
    let exit = shard.relays.get(id).unwrap().exit().socket.try_clone_to_owned().unwrap();
    // Every other one meets the error of the one before.
    (0..6 * MAX_ERRORS).for_each(|_| drop(sys::send_now(exit.as_fd(), nobody, None, b"anyone?")));
    let relayed = socket2::SockRef::from(&exit).local_addr().unwrap().as_socket().unwrap();
    peer.send_to(b"data", relayed).unwrap();

    shard.erring.push(id);
    shard.waits(id);
    for _ in 0..100 {
        for relay in std::mem::take(&mut shard.erring) {
            shard.serve_errors(relay);
        }
        shard.serve_relays();
    }
    assert!(shard.control.counters.icmp_errors() > MAX_ERRORS as u64, "{}", shard.control.counters.icmp_errors());
    assert!(shard.waiting.is_empty() && shard.erring.is_empty());
    let left = RecvRoom::new(1).receive(exit.as_fd(), 1).map_err(|error| error.kind());
    assert_eq!(left, Err(io::ErrorKind::WouldBlock), "it was seen");
}

#[test]
fn a_thread_that_is_busy_closes_everything_as_often_as_it_was_told() {
    let control = Control::new().unwrap();
    assert_eq!(control.take_closings(), 0);
    control.close_all();
    control.close_all();
    assert_eq!(control.take_closings(), 2);
    assert_eq!(control.take_closings(), 0);
}
