//! Clients over TCP and TLS: a connection each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

use crate::clients::client_address;
use crate::server::{REALM, Server};

/// Bytes that are read from one connection at a time: more than a whole TLS record.
const READ: usize = 64 << 10;
/// Connections that are read from before the loader looks at something else.
const BATCH: usize = 32;

pub struct Streams {
    server: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    epoll: Epoll,
    by_client: Vec<Option<Stream>>,
    /// Those with something left to write.
    unwritten: Vec<usize>,
    buffer: Box<[u8]>,
}

impl Streams {
    pub fn new(server: &Server) -> Result<Self> {
        let tls = server.certificate.as_deref().map(trusting).transpose()?;
        Ok(Self {
            server: server.listener,
            tls: tls.map(Arc::new),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            by_client: Vec::new(),
            unwritten: Vec::new(),
            buffer: vec![0; READ].into_boxed_slice(),
        })
    }

    /// Writes messages at once. False: the connection still has to write what it was given before.
    pub fn send(&mut self, index: usize, messages: &[u8]) -> io::Result<bool> {
        if self.by_client.get(index).is_none_or(Option::is_none) {
            self.connect(index)?;
        }
        let Some(stream) = &mut self.by_client[index] else { return Ok(false) };
        if !stream.flush()? {
            return Ok(false);
        }
        if !stream.write(messages)? {
            self.unwritten.push(index);
        }
        Ok(true)
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let stream = Stream::connect(client_address(index), self.server, self.tls.as_ref())?;
        self.epoll.add(&stream.socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        if self.by_client.len() <= index {
            self.by_client.resize_with(index + 1, || None);
        }
        self.by_client[index] = Some(stream);
        Ok(())
    }

    pub fn receive(&mut self, mut each: impl FnMut(usize, &[u8])) -> io::Result<usize> {
        let Self { by_client, unwritten, .. } = self;
        let mut failed = None;
        unwritten.retain(|index| match by_client[*index].as_mut().map(Stream::flush) {
            Some(Ok(done)) => !done,
            Some(Err(error)) => {
                failed = Some(error);
                false
            }
            None => false,
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let mut events = [EpollEvent::empty(); BATCH];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        let mut messages = 0;
        for event in &events[..ready] {
            let Ok(index) = usize::try_from(event.data()) else { continue };
            let Some(stream) = self.by_client.get_mut(index).and_then(Option::as_mut) else { continue };
            stream.read(&mut self.buffer)?;
            messages += stream.messages(|message| each(index, message));
        }
        Ok(messages)
    }
}

/// Trusts the one certificate that the server was given.
fn trusting(certificate: &std::path::Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).with_context(|| certificate.display().to_string())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Received, not yet a whole message.
    incoming: Vec<u8>,
    /// Taken from the caller, not yet written. Empty with TLS, which keeps its own.
    outgoing: Vec<u8>,
}

impl Stream {
    /// Blocks until the connection and its handshake are done: this is not what is measured.
    fn connect(from: Ipv4Addr, to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&to.into())?;
        socket.set_tcp_nodelay(true)?;
        let mut socket = TcpStream::from(socket);
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(REALM).map_err(io::Error::other)?;
                let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                connection.complete_io(&mut socket)?;
                Some(Box::new(connection))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self { socket, tls, incoming: Vec::new(), outgoing: Vec::new() })
    }

    /// True: all of it is written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.tls {
            // A record a message, as clients write them: coturn loses what begins behind the first of a record.
            Some(tls) => {
                let mut rest = bytes;
                while let Some(length) = length(rest) {
                    let (message, later) = rest.split_at(length.next_multiple_of(4).min(rest.len()));
                    tls.writer().write_all(message)?;
                    rest = later;
                }
            }
            None => self.outgoing.extend_from_slice(bytes),
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<bool> {
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket),
                None if !self.outgoing.is_empty() => self.socket.write(&self.outgoing),
                _ => return Ok(true),
            };
            match written {
                Ok(count) if self.tls.is_none() => drop(self.outgoing.drain(..count)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is there, one buffer at the most.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let read = match &mut self.tls {
            Some(tls) => tls.read_tls(&mut self.socket),
            None => self.socket.read(buffer),
        };
        match read {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed a connection")),
            Ok(count) if self.tls.is_none() => self.incoming.extend_from_slice(&buffer[..count]),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.process_new_packets().map_err(io::Error::other)?;
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has ended TLS")),
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Hands on whole messages, without their padding.
    fn messages(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let (mut at, mut count) = (0, 0);
        while let Some(length) = length(&self.incoming[at..]) {
            let padded = length.next_multiple_of(4);
            let Some(message) = self.incoming.get(at..at + padded) else { break };
            each(&message[..length]);
            at += padded;
            count += 1;
        }
        self.incoming.drain(..at);
        count
    }
}

/// Of the message that begins here: a STUN header, or that of channel data, which is padded (RFC 8656 section 12.5).
fn length(bytes: &[u8]) -> Option<usize> {
    let header = if *bytes.first()? < 0x40 { 20 } else { 4 };
    let body = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    Some(header + usize::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_bits() {
        assert_eq!(length(&[0x00, 0x01, 0x00, 0x08]), Some(28));
        assert_eq!(length(&[0x40, 0x00, 0x00, 0x05]), Some(9));
        assert_eq!(length(&[0x40, 0x00, 0x00]), None);
    }
}
