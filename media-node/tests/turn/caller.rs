//! A client on a real socket, and a peer that sends back what it gets.

use std::{
    cell::{RefCell, RefMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use media_node::turn::proto::{
    attribute::{CHANNEL_NUMBER, DATA, LIFETIME},
    message::method,
    test_support::{Answer, Client, Draft},
};

use crate::{
    node::{PATIENCE, binary},
    stream::Stream,
};

/// Starts a peer on `ip`. It ends with the test.
pub fn echo(ip: IpAddr) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    address
}

/// How a caller reaches the node.
enum Line {
    Udp(UdpSocket),
    Stream(RefCell<Stream>),
}

pub struct Caller {
    line: Line,
    pub client: Client,
}

/// User name and password from `media-node credentials`.
fn credentials(secret_file: &Path, user: &str) -> [String; 2] {
    let output = binary()
        .args(["credentials", "--user", user, "--ttl", "1h", "-o", "json", "--secret-file"])
        .arg(secret_file)
        .output()
        .unwrap();
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    ["username", "password"].map(|key| made[key].as_str().unwrap().to_owned())
}

impl Caller {
    pub fn new(server: SocketAddr, secret_file: &Path, user: &str) -> Self {
        let [username, password] = credentials(secret_file, user);
        Self::named(server, &username, &password)
    }

    pub fn named(server: SocketAddr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind((if server.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
        // A connected socket hears only what comes from the address that it asked.
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = Client::new(server, socket.local_addr().unwrap(), username, password);
        Self { line: Line::Udp(socket), client }
    }

    pub fn over(stream: Stream, secret_file: &Path, user: &str) -> Self {
        let [username, password] = credentials(secret_file, user);
        Self::over_as(stream, &username, &password)
    }

    pub fn over_as(stream: Stream, username: &str, password: &str) -> Self {
        let client = Client::new(stream.peer(), stream.own(), username, password);
        Self { line: Line::Stream(RefCell::new(stream)), client }
    }

    /// Its connection. Not for UDP.
    pub fn stream(&self) -> RefMut<'_, Stream> {
        match &self.line {
            Line::Stream(stream) => stream.borrow_mut(),
            Line::Udp(_) => panic!("UDP has no connection"),
        }
    }

    /// The same user on another port, who has sent nothing from there yet.
    pub fn elsewhere(&self) -> Self {
        Self::named(self.client.path.local, &self.client.username, &self.client.password)
    }

    /// Over UDP only.
    pub fn hear_within(&self, time: Duration) -> Option<Vec<u8>> {
        let Line::Udp(socket) = &self.line else { panic!("a stream is read until there is something") };
        socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = vec![0; 2048];
        let heard = socket.recv(&mut buffer).ok();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        buffer.truncate(heard?);
        Some(buffer)
    }

    /// Whether nothing waits to be heard.
    pub fn hears_nothing(&self) -> bool {
        self.hear_within(Duration::from_millis(1)).is_none()
    }

    pub fn send(&self, message: &[u8]) {
        match &self.line {
            Line::Udp(socket) => drop(socket.send(message).unwrap()),
            Line::Stream(stream) => stream.borrow_mut().send(message),
        }
    }

    pub fn hear(&self) -> Vec<u8> {
        match &self.line {
            Line::Udp(socket) => {
                let mut buffer = vec![0; 2048];
                let len = socket.recv(&mut buffer).expect("an answer");
                buffer.truncate(len);
                buffer
            }
            Line::Stream(stream) => stream.borrow_mut().hear().expect("a message"),
        }
    }

    pub fn ask(&self, request: &[u8]) -> Answer {
        self.send(request);
        Answer(self.hear())
    }

    /// With credentials; the first request of all learns realm and nonce from the challenge.
    pub fn ask_signed(&mut self, request: Draft) -> Answer {
        if self.client.nonce.is_empty() {
            let challenge = self.client.allocate().bare();
            let challenge = self.ask(&challenge);
            assert_eq!(challenge.code(), 401);
            self.client.learn(&challenge);
        }
        self.ask(&self.client.sign(request))
    }

    pub fn binding(&mut self) -> Answer {
        let request = self.client.request(method::BINDING).bare();
        self.ask(&request)
    }

    pub fn allocate(&mut self) -> Answer {
        let request = self.client.allocate();
        self.ask_signed(request)
    }

    /// The code of the answer.
    pub fn permit(&mut self, peer: SocketAddr) -> u16 {
        let request = self.client.request(method::CREATE_PERMISSION).peer(peer);
        self.ask_signed(request).code()
    }

    pub fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> u16 {
        let [high, low] = number.to_be_bytes();
        let request = self.client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[high, low, 0, 0]).peer(peer);
        self.ask_signed(request).code()
    }

    /// Sends with a Send indication; what comes back, from whom.
    pub fn indication_echo(&mut self, peer: SocketAddr, payload: &[u8]) -> (Option<SocketAddr>, Vec<u8>) {
        let indication = self.client.send(peer, payload);
        let heard = self.ask(&indication);
        (heard.peer(), heard.value(DATA).unwrap_or_default())
    }

    /// Sends channel data; what comes back.
    pub fn channel_echo(&self, number: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        datagram.extend(payload);
        if let Line::Stream(_) = self.line {
            datagram.resize(datagram.len().next_multiple_of(4), 0);
        }
        self.send(&datagram);
        self.hear()
    }

    pub fn refresh(&mut self, seconds: u32) -> u16 {
        let request = self.client.request(method::REFRESH).number(LIFETIME, seconds);
        self.ask_signed(request).code()
    }
}
