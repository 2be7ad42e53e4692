//! Listeners for TCP and TLS: like those for UDP, one of each for every thread, opened all together.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::turn::{
    io::sockets::{ListenError, openable},
    proto::Transport,
};

/// Connections that wait to be accepted; the kernel gives at most `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long what was sent may stay unacknowledged, or a window closed. ICE gives a path up after 30 s (RFC 7675), and a
/// mobile client may come out of its tunnel a little later.
const USER_TIMEOUT: Duration = Duration::from_mins(1);
/// Silence before the first probe, and between two. The user timeout counts for probes as well, so a client that is gone
/// is given up after it, whether something is sent or not.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
/// Bytes not sent yet that the kernel takes. Otherwise it would take some megabytes, all of it media that is too late.
const NOT_SENT: u32 = 128 * 1024;

/// Where to listen, with the place in the configuration for messages.
#[derive(Clone, Copy, Debug)]
pub struct StreamAddress {
    pub index: usize,
    pub address: SocketAddr,
    /// [`Transport::Tls`] takes plain TCP as well.
    pub transport: Transport,
}

/// One thread's socket of one listener.
#[derive(Debug)]
pub struct StreamListener {
    socket: TcpListener,
    pub transport: Transport,
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl StreamListener {
    /// Does not wait, unlike the connection that it gives.
    pub fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        self.socket.accept()
    }
}

/// Opens every listener for every thread: one list a thread.
pub fn open_stream_listeners(
    addresses: &[StreamAddress],
    threads: usize,
) -> Result<Vec<Vec<StreamListener>>, ListenError> {
    let bound: Vec<_> = addresses.iter().map(|listener| (listener.index, listener.address)).collect();
    let openable = openable(&bound, |address| open(address, false).map(drop))?;
    let mut all: Vec<Vec<StreamListener>> = (0..threads).map(|_| Vec::new()).collect();
    for &StreamAddress { index, address, transport } in
        addresses.iter().filter(|listener| openable.contains(&(listener.index, listener.address)))
    {
        for of_thread in &mut all {
            let listen = || {
                let socket = open(address, true)?;
                socket.listen(BACKLOG)?;
                Ok(StreamListener { socket: socket.into(), transport })
            };
            of_thread.push(listen().map_err(|source| ListenError::new(index, address, source))?);
        }
    }
    Ok(all)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a process that has ended must not keep the next one from starting.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What every accepted connection is set to.
pub fn prepare(socket: &std::net::TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOT_SENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_gone_without_a_word_is_noticed_within_a_minute_whether_something_is_sent_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        prepare(&accepted).unwrap();
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_mins(1)));
        assert!(socket.keepalive().unwrap());
        // The kernel looks at the user timeout with a probe that is not answered: the last one before it is over.
        let first = socket.tcp_keepalive_time().unwrap();
        let again = socket.tcp_keepalive_interval().unwrap();
        assert_eq!(first + 3 * again, Duration::from_mins(1));
    }
}
