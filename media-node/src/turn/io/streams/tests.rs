//! One thread with real sockets and limits that a test can wait for.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

use super::*;
use crate::turn::{
    io::{
        relays::Descriptors,
        shard::{self, Control, Mates, Shard},
    },
    proto::{
        PortRange, Realm, RelayAddress, RelayAddresses, Secret, Secrets, ServerConfig, ShardIndex, Shared, Transport,
        message::method,
        test_support::{Answer, Client},
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    control: Arc<Control>,
    common: Arc<Common>,
    shared: Arc<Shared>,
    server: SocketAddr,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.control.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap().unwrap();
            assert_eq!(self.common.descriptors.left(), DESCRIPTORS, "every file descriptor is given back");
            assert_eq!(self.common.left.load(Ordering::Relaxed), DESCRIPTORS / 2);
        }
    }
}

const DESCRIPTORS: i64 = 40;

fn server() -> (Server, Arc<Shared>) {
    let local = Ipv4Addr::LOCALHOST.into();
    let relays = RelayAddresses::new(&[RelayAddress { local, public: local }]).unwrap();
    let ports = PortRange::parse(60_000, 60_999).unwrap();
    let config = Arc::new(ServerConfig::new(Realm::parse("test").unwrap(), relays, ports));
    let secrets = Secrets { current: Secret::new(b"north").unwrap(), previous: None };
    let shared = Shared::new(&config, 1, secrets, [7; 32]);
    (Server::new(config, Arc::clone(&shared), ShardIndex(0), [7; 32]), shared)
}

fn listen(transport: Transport) -> (Vec<StreamListener>, SocketAddr) {
    loop {
        // A port that is free now may have been taken by the time that it is bound again.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        match open_stream_listeners(&[StreamAddress { index: 0, address: free, transport }], 1) {
            Ok(mut listeners) => return (listeners.remove(0), free),
            Err(error) => println!("{error}"),
        }
    }
}

impl Rig {
    fn new(transport: Transport, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let (listeners, address) = listen(transport);
        let count = u64::try_from(DESCRIPTORS).unwrap();
        let descriptors = Arc::new(Descriptors::new(count));
        let common = Arc::new(Common::new(Arc::clone(&descriptors), count, Some(tls_config()), limits));
        let control = Arc::new(Control::new().unwrap());
        let streams = (listeners, Arc::clone(&common));
        let mates = Mates { number: ShardIndex(0), controls: vec![Arc::clone(&control)] };
        let relays = (descriptors, Arc::default());
        let (server, shared) = server();
        let thread = std::thread::spawn(move || Shard::new(server, mates, Vec::new(), streams, relays)?.run());
        Self { control, common, shared, server: address, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn counters(&self) -> &counters::StreamCounters {
        &self.control.counters.streams
    }

    fn until(&self, what: &str, is: impl Fn(&counters::StreamCounters) -> bool) {
        let over = Instant::now() + PATIENCE;
        while !is(self.counters()) {
            assert!(Instant::now() < over, "{what}: {:?}", self.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn client(&self, stream: &TcpStream) -> Client {
        let username = format!("{}:ann", shard::now().unix + 600);
        let password = Secret::new(b"north").unwrap().password(&username);
        Client::new(self.server, stream.local_addr().unwrap(), &username, &password)
    }
}

/// Nobody finishes a handshake with it.
fn tls_config() -> Arc<rustls::ServerConfig> {
    #[derive(Debug)]
    struct Nothing;
    impl rustls::server::ResolvesServerCert for Nothing {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(Nothing)))
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    let mut answer = vec![0; 20];
    stream.read_exact(&mut answer).unwrap();
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    answer.resize(20 + length, 0);
    stream.read_exact(&mut answer[20..]).unwrap();
    Answer(answer)
}

fn allocate(stream: &mut TcpStream, client: &mut Client) -> u16 {
    let challenge = client.allocate().bare();
    client.learn(&ask(stream, &challenge));
    let request = client.allocate();
    ask(stream, &client.sign(request)).code()
}

fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn who_says_nothing_whole_in_time_is_closed() {
    for (case, transport, said) in [
        ("nothing", Transport::Tcp, &b""[..]),
        ("half a message", Transport::Tcp, b"\x00\x01\x00\x00\x21"),
        ("nothing to a TLS listener", Transport::Tls, b""),
        ("half a handshake", Transport::Tls, b"\x16\x03\x01\x02\x00\x01"),
    ] {
        let rig = Rig::new(transport, |limits| limits.first_message = Duration::from_millis(500));
        let mut stream = rig.connect();
        stream.write_all(said).unwrap();
        assert!(is_closed(&mut stream), "{case}");
        rig.until(case, |c| c.ended(Closed::NoMessage) == 1);
        let failed = u64::from(said.first() == Some(&0x16));
        assert_eq!(rig.counters().handshakes(Handshake::Failed), failed, "{case}");
        assert_eq!(rig.counters().open(Transport::Tcp) + rig.counters().open(Transport::Tls), 0, "{case}");
    }
}

#[test]
fn a_connection_without_an_allocation_is_closed_when_idle_and_one_with_an_allocation_is_not() {
    let rig = Rig::new(Transport::Tcp, |limits| {
        (limits.first_message, limits.idle) = (Duration::from_secs(10), Duration::from_millis(500));
    });
    let (mut idle, mut caller) = (rig.connect(), rig.connect());
    let mut client = rig.client(&caller);
    assert_eq!(allocate(&mut caller, &mut client), 0);
    let request = rig.client(&idle).request(method::BINDING).bare();
    assert_eq!(ask(&mut idle, &request).mapped(), Some(idle.local_addr().unwrap()));
    assert!(is_closed(&mut idle));
    rig.until("idle", |c| c.ended(Closed::Idle) == 1);
    // Both came at the same time, and one has ended since.
    let refresh = client.request(method::REFRESH);
    assert_eq!(ask(&mut caller, &client.sign(refresh)).code(), 0);

    let request = client.request(method::REFRESH).number(crate::turn::proto::attribute::LIFETIME, 0);
    assert_eq!(ask(&mut caller, &client.sign(request)).code(), 0);
    assert!(is_closed(&mut caller), "its allocation has ended");
    rig.until("idle, too", |c| c.ended(Closed::Idle) == 2);
}

#[test]
fn a_source_has_a_bounded_number_of_connections_without_an_allocation() {
    let rig = Rig::new(Transport::Tcp, |limits| limits.strangers = 2);
    let (mut first, second) = (rig.connect(), rig.connect());
    rig.until("both are there", |c| c.open(Transport::Tcp) == 2);
    assert!(is_closed(&mut rig.connect()), "one too many");
    assert_eq!(rig.counters().refusals(Refused::Source), 1);
    drop(second);
    rig.until("one has gone", |c| c.open(Transport::Tcp) == 1);
    let mut third = rig.connect();
    let mut client = rig.client(&third);
    assert_eq!(allocate(&mut third, &mut client), 0, "an allocation makes room");
    let mut fourth = rig.connect();
    let mut stranger = rig.client(&fourth);
    let request = stranger.request(method::BINDING).bare();
    assert_eq!(ask(&mut fourth, &request).code(), 0);
    let request = rig.client(&first).request(method::BINDING).bare();
    assert_eq!(ask(&mut first, &request).code(), 0, "who is there stays");
}

#[test]
fn connections_leave_half_of_the_file_descriptors_to_relays() {
    let rig = Rig::new(Transport::Tcp, |_| ());
    let half = u64::try_from(DESCRIPTORS / 2).unwrap();
    let mut open: Vec<TcpStream> = (0..half).map(|_| rig.connect()).collect();
    rig.until("half of them", |c| c.open(Transport::Tcp) == half);
    assert!(is_closed(&mut rig.connect()));
    assert_eq!(rig.counters().refusals(Refused::Descriptors), 1);
    for stream in &mut open {
        let mut client = rig.client(stream);
        assert_eq!(allocate(stream, &mut client), 0, "every one of them gets a relay");
    }
    drop(open);
    rig.until("all are gone", |c| c.open(Transport::Tcp) == 0);
    let mut again = rig.connect();
    let mut client = rig.client(&again);
    assert_eq!(allocate(&mut again, &mut client), 0);
}

#[test]
fn near_the_memory_limit_connections_are_closed_and_those_that_are_there_stay() {
    let rig = Rig::new(Transport::Tcp, |_| ());
    let mut caller = rig.connect();
    let mut client = rig.client(&caller);
    assert_eq!(allocate(&mut caller, &mut client), 0);
    rig.shared.set_memory_full(true);
    assert!(is_closed(&mut rig.connect()));
    assert_eq!(rig.counters().refusals(Refused::Memory), 1);
    let refresh = client.request(method::REFRESH);
    assert_eq!(ask(&mut caller, &client.sign(refresh)).code(), 0);
    rig.shared.set_memory_full(false);
    let mut another = rig.connect();
    let mut client = rig.client(&another);
    assert_eq!(allocate(&mut another, &mut client), 0);
}

#[test]
fn a_stranger_cannot_make_the_node_keep_long_messages() {
    let rig = Rig::new(Transport::Tcp, |_| ());
    let mut stream = rig.connect();
    stream.write_all(b"\x00\x01\x40\x00\x21\x12\xa4\x42").unwrap();
    assert!(is_closed(&mut stream));
    rig.until("closed", |c| c.ended(Closed::NotTurn) == 1);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_given_up() {
    let rig = Rig::new(Transport::Tcp, |limits| (limits.waiting, limits.headroom) = (1024, 1024));
    let mut stream = rig.connect();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = rig.client(&stream).request(method::BINDING).bare().repeat(1000);
    let over = Instant::now() + PATIENCE;
    while stream.write_all(&request).is_ok() {
        assert!(Instant::now() < over, "it goes on for ever");
    }
    rig.until("closed", |c| c.ended(Closed::SlowReader) == 1);
}

#[test]
fn a_client_that_comes_again_from_the_same_port_is_a_new_one() {
    let rig = Rig::new(Transport::Tcp, |_| ());
    let connect_from = |from: Option<SocketAddr>| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        // Closed with a reset, the port can be used again at once.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        from.inspect(|from| socket.bind(&(*from).into()).unwrap());
        socket.connect(&rig.server.into()).unwrap();
        TcpStream::from(socket)
    };
    let mut from = None;
    for _ in 0..50 {
        let mut stream = connect_from(from);
        from = Some(stream.local_addr().unwrap());
        let mut client = rig.client(&stream);
        assert_eq!(allocate(&mut stream, &mut client), 0, "not met by the allocation before");
    }
    rig.until("all have ended", |c| c.open(Transport::Tcp) == 0);
}

/// The same without a thread: a test turns the loop.
struct Still {
    epoll: Arc<Epoll>,
    control: Control,
    address: SocketAddr,
    streams: Streams,
    server: Server,
    relays: Relays,
    sender: Sender,
}

impl Still {
    fn new() -> Self {
        Self::with_limits(Transport::Tcp, Limits::default())
    }

    fn with_limits(transport: Transport, limits: Limits) -> Self {
        let control = Control::new().unwrap();
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let (listeners, address) = listen(transport);
        let descriptors = Arc::new(Descriptors::new(10));
        let common = Arc::new(Common::new(Arc::clone(&descriptors), 10, Some(tls_config()), limits));
        let counters = &control.counters;
        Self {
            streams: Streams::new(Arc::clone(&epoll), listeners, common, Arc::clone(counters)).unwrap(),
            server: server().0,
            relays: Relays::new(
                Arc::clone(&epoll),
                |relay| relay.0.into(),
                descriptors,
                Arc::default(),
                Arc::clone(counters),
            ),
            sender: Sender::new(Arc::clone(counters)),
            epoll,
            control,
            address,
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Streams, Now, &mut Core<'_>)) {
        let Self { streams, server, relays, sender, .. } = self;
        act(streams, shard::now(), &mut Core { server, relays, sender });
    }

    /// The tokens of what epoll tells now.
    fn told(&self) -> Vec<u64> {
        let mut events = [EpollEvent::empty(); 4];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        events[..count].iter().map(EpollEvent::data).collect()
    }

    /// Connects, and accepts.
    fn connect(&mut self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        self.with(|streams, now, core| streams.accept(0, now, core));
        stream
    }
}

#[test]
fn an_event_of_a_connection_that_has_gone_does_not_meet_the_next_one() {
    let mut still = Still::new();
    let first = still.connect();
    let token = CONNECTION_BIT;
    drop(first);
    assert_eq!(still.told(), [token]);
    still.with(|streams, now, core| streams.serve(0, EpollFlags::EPOLLIN, now, core));
    // In the same turn another one comes, and there was one more event of the first.
    let mut second = still.connect();
    second.write_all(b"not TURN").unwrap();
    still.with(|streams, now, core| streams.serve(0, EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP, now, core));
    assert_eq!(still.control.counters.streams.open(Transport::Tcp), 1, "untouched");
    assert_eq!(still.told(), [token | 1], "in a place of its own");
    still.with(Streams::turn);
    let _third = still.connect();
    assert_eq!(still.control.counters.streams.open(Transport::Tcp), 2);
    assert!(still.streams.places[0].is_some(), "the place is used again in the next turn");
}

#[test]
fn little_waits_for_a_stranger_that_does_not_read_and_one_that_reads_is_served() {
    let mut still = Still::new();
    let (asks, mut reads) = (still.connect(), still.connect());
    let mut client = Client::new(still.address, asks.local_addr().unwrap(), "ann", "");
    // More answers than may wait, by far.
    let requests = client.request(method::BINDING).bare().repeat(2000);
    asks.set_nonblocking(true).unwrap();
    let (mut most, mut at) = (0, 0);
    let over = Instant::now() + PATIENCE;
    while still.streams.places[0].is_some() {
        assert!(Instant::now() < over, "it goes on for ever");
        at = (at + (&asks).write(&requests[at..]).unwrap_or(0)) % requests.len();
        still.with(|streams, now, core| streams.serve(0, EpollFlags::EPOLLIN, now, core));
        still.with(Streams::turn);
        most = most.max(still.streams.waiting);
    }
    assert_eq!(still.control.counters.streams.ended(Closed::SlowReader), 1);
    assert!(most <= limits::STRANGERS_WAITING, "{most}");

    reads.write_all(&requests).unwrap();
    let mut answers = vec![0; 32 * 2000];
    let answered = std::thread::spawn(move || reads.read_exact(&mut answers).map(|()| reads));
    while !answered.is_finished() && still.streams.places[1].is_some() {
        still.with(|streams, now, core| streams.serve(1, EpollFlags::EPOLLIN, now, core));
        still.with(Streams::turn);
    }
    drop(answered.join().unwrap().unwrap());
}

#[test]
fn a_listener_that_finds_no_room_for_connections_pauses() {
    let mut still = Still::new();
    let _waits = TcpStream::connect(still.address).unwrap();
    let start = Instant::now();
    assert_eq!(still.told(), [LISTENER_BIT]);
    still.streams.pause(0, start);
    assert_eq!((still.told(), still.streams.poll_timeout()), (vec![], Some(start + PAUSE)));
    still.streams.resume(start + PAUSE / 2);
    assert!(still.told().is_empty());
    still.streams.resume(start + PAUSE);
    assert_eq!((still.told(), still.streams.poll_timeout()), (vec![LISTENER_BIT], None));
    assert_eq!(still.control.counters.streams.accept_pauses(), 1);
}

#[test]
fn many_tls_handshakes_at_once_do_not_keep_relayed_packets_waiting() {
    let mut still = Still::with_limits(Transport::Tls, Limits { handshakes: 2, ..Limits::default() });
    let _clients: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut client = still.connect();
            client.write_all(b"\x16\x03\x01").unwrap();
            client
        })
        .collect();
    for connection in 0..3 {
        still.with(|streams, now, core| streams.serve(connection, EpollFlags::EPOLLIN, now, core));
    }
    assert_eq!(still.told(), [CONNECTION_BIT | 2], "the third one waits");
    still.with(Streams::turn);
    still.with(|streams, now, core| streams.serve(2, EpollFlags::EPOLLIN, now, core));
    assert_eq!(still.told(), Vec::<u64>::new(), "until the next turn");
}
