//! A client's end of a connection, plain or with TLS.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
};

use media_node::turn::proto::framing::{self, FRAME_MAX, Next};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::node::{PATIENCE, Plan};

pub const NAME: &str = "turn.example.org";

/// A certificate that only clients of the test trust: a new one, in the node's files.
pub fn write_certificate(plan: &Plan) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    plan.write("turn.key", &made.signing_key.serialize_pem());
    plan.write("turn.crt", &made.cert.pem());
    made.cert.der().clone()
}

/// What trusts the certificate in the node's files as they are now.
pub fn trusting(plan: &Plan, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(plan.directory.path().join("turn.crt")).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub struct Stream {
    pub socket: TcpStream,
    pub tls: Option<Box<ClientConnection>>,
    incoming: Vec<u8>,
}

impl Stream {
    pub fn plain(server: SocketAddr) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, tls: None, incoming: Vec::new() }
    }

    /// After the handshake, or why there was none.
    pub fn tls(server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut stream = Self::plain(server);
        let name = ServerName::try_from(NAME).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream.socket)?;
        }
        stream.tls = Some(Box::new(tls));
        Ok(stream)
    }

    pub fn own(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn peer(&self) -> SocketAddr {
        self.socket.peer_addr().unwrap()
    }

    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// What the server showed.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.tls.as_ref().unwrap().peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// An error is that the server has closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes),
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.socket)?;
                }
                Ok(())
            }
        }
    }

    /// The next message with its padding; nothing once the server has closed the connection.
    pub fn hear(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Next::Frame(len) = framing::next(&self.incoming, FRAME_MAX).unwrap() {
                return Some(self.incoming.drain(..len).collect());
            }
            if self.read() == 0 {
                assert_eq!(self.incoming, b"", "a message that is cut off");
                return None;
            }
        }
    }

    /// Takes what comes next; how much. 0 is the end.
    pub fn read(&mut self) -> usize {
        let mut buffer = vec![0; 1 << 16];
        let read = match &mut self.tls {
            None => self.socket.read(&mut buffer),
            Some(tls) => loop {
                match tls.reader().read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Closed without a farewell.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => break Ok(0),
                    read => break read,
                }
                if let Err(error) = tls.read_tls(&mut self.socket) {
                    break Err(error);
                }
                if let Err(error) = tls.process_new_packets() {
                    break Err(io::Error::other(error));
                }
            },
        };
        let len = match read {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            read => read.expect("bytes, or the end"),
        };
        self.incoming.extend_from_slice(&buffer[..len]);
        len
    }

    /// Says goodbye, as a client does.
    pub fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut self.socket).unwrap();
        }
        self.socket.shutdown(Shutdown::Write).unwrap();
    }
}
