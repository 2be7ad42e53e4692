//! One probe of one address: sockets around a [`Session`].

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rtcfleet_node_api::Stage;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{sleep, sleep_until, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    fault::Fault,
    pace::Pace,
    session::{Echo, Output, Plan, Report, Session},
    tls,
};
use crate::turn::probe::{line::Line, tcp::Stream, udp::Udp};

/// More than any packet of ours.
const LONGEST: usize = 1500;

/// How an address is reached.
#[derive(Clone, Debug)]
pub enum Way {
    Udp,
    Tcp,
    Tls { config: Arc<ClientConfig>, name: ServerName<'static> },
}

/// What a probe found, as soon as it is known.
#[derive(Clone, Debug)]
pub struct Finding {
    pub report: Report,
    pub not_after: Option<Timestamp>,
    pub took: Duration,
}

/// It is this machine that had no socket or no port: no word about the target.
#[derive(Debug, thiserror::Error)]
#[error("this machine gives no socket: {0}")]
pub struct NoSocket(pub io::Error);

/// Where findings go. Called once, before the allocation of a bad session is given back.
pub trait Tell: FnOnce(Finding) + Send {}
impl<F: FnOnce(Finding) + Send> Tell for F {}

/// Probes `address`. `began` is when the probe did, before its name was resolved.
pub async fn probe(
    way: &Way,
    address: SocketAddr,
    plan: Plan,
    began: Instant,
    tell: impl Tell,
) -> Result<(), NoSocket> {
    let by = tokio::time::Instant::from_std(began + plan.pace.whole);
    let here = match plan.echo {
        Echo::Here => Some(socket_beside(address).await.map_err(NoSocket)?),
        Echo::Relay | Echo::At(_) => None,
    };
    let failed = |stage, not_after: Option<Timestamp>, why: String| Finding {
        report: Report::failed(Fault::new(stage, why)),
        not_after,
        took: began.elapsed(),
    };
    if matches!(way, Way::Udp) {
        return match Udp::connect(address).await {
            Ok(line) => talk(line, here, plan, began, None, tell).await,
            Err(error) => reachable_or(error, |why| tell(failed(Stage::Connect, None, why))),
        };
    }
    let stream = match timeout_at(by, connected(address, plan.pace)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return reachable_or(error, |why| tell(failed(Stage::Connect, None, why))),
        Err(_) => {
            tell(failed(Stage::Connect, None, "nobody accepts the connection in time".to_owned()));
            return Ok(());
        }
    };
    let _ = stream.set_nodelay(true);
    let Way::Tls { config, name } = way else {
        return talk(Stream::over(stream), here, plan, began, None, tell).await;
    };
    match timeout_at(by, TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let not_after = certificate.and_then(tls::not_after);
            talk(Stream::over(stream), here, plan, began, not_after, tell).await
        }
        Ok(Err(error)) => {
            let (why, not_after) = tls::explain(&error);
            tell(failed(Stage::Tls, not_after, why));
            Ok(())
        }
        Err(_) => {
            tell(failed(Stage::Tls, None, "the handshake is not finished in time".to_owned()));
            Ok(())
        }
    }
}

/// The kernel sends a SYN that was lost again after a second (RFC 6298 section 2.1), which is all the time that a probe has.
/// So another connection is tried meanwhile, when a request over UDP would be sent again. The first that is accepted is used.
async fn connected(address: SocketAddr, pace: Pace) -> io::Result<TcpStream> {
    let late = |wait| async move {
        sleep(wait).await;
        TcpStream::connect(address).await
    };
    tokio::select! {
        first = TcpStream::connect(address) => first,
        second = late(pace.retransmission) => second,
        third = late(pace.retransmission * 3) => third,
    }
}

/// Whether an error is the target's doing, or the way's: then `tell` is told why.
fn reachable_or(error: io::Error, tell: impl FnOnce(String)) -> Result<(), NoSocket> {
    use nix::libc::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    if let Some(EMFILE | ENFILE | ENOBUFS | ENOMEM | EADDRNOTAVAIL) = error.raw_os_error() {
        return Err(NoSocket(error));
    }
    tell(broken(&error));
    Ok(())
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused: nothing listens on this port".to_owned(),
        ErrorKind::UnexpectedEof => "the server has closed the connection".to_owned(),
        ErrorKind::InvalidData => "what arrives is neither STUN nor channel data".to_owned(),
        _ => error.to_string(),
    }
}

async fn socket_beside(address: SocketAddr) -> io::Result<UdpSocket> {
    match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
    }
}

/// What happens next.
enum Event {
    Message(io::Result<Vec<u8>>),
    Here(io::Result<usize>),
    Timer,
}

async fn talk<L: Line>(
    mut line: L,
    here: Option<UdpSocket>,
    plan: Plan,
    began: Instant,
    not_after: Option<Timestamp>,
    tell: impl Tell,
) -> Result<(), NoSocket> {
    let plan = Plan { lossy: L::LOSSY, ..plan };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| NoSocket(io::Error::other(error.to_string())))?;
    let Some(mut session) = Session::new(plan, seed, began, Instant::now()) else { return Ok(()) };
    let mut tell = Some(tell);
    let mut buffer = vec![0; if here.is_some() { LONGEST } else { 0 }];
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Report(report) => {
                    let finding = Finding { report, not_after, took: began.elapsed() };
                    if let Some(tell) = tell.take() {
                        tell(finding);
                    }
                }
                Output::FromHere { to, payload } => {
                    if let Some(here) = &here {
                        // It may be lost; that is what is being looked at.
                        let _ = here.send_to(&payload, to).await;
                    }
                }
                Output::ToServer(bytes) => {
                    let by = tokio::time::Instant::from_std(session.poll_timeout().unwrap_or_else(Instant::now));
                    if let Ok(Err(error)) = timeout_at(by, line.send(&bytes)).await {
                        session.handle_broken(Instant::now(), &broken(&error));
                    }
                }
            }
        }
        let Some(timer) = session.poll_timeout() else { return Ok(()) };
        let event = tokio::select! {
            heard = line.hear() => Event::Message(heard),
            heard = hear_here(here.as_ref(), &mut buffer) => Event::Here(heard),
            () = sleep_until(timer.into()) => Event::Timer,
        };
        let now = Instant::now();
        match event {
            Event::Message(Ok(bytes)) => session.handle_message(now, &bytes),
            Event::Message(Err(error)) => session.handle_broken(now, &broken(&error)),
            Event::Here(Ok(len)) => session.handle_here(now, buffer.get(..len).unwrap_or_default()),
            // ICMP about an earlier packet.
            Event::Here(Err(_)) => {}
            Event::Timer => session.handle_timeout(now),
        }
    }
}

/// Never, where there is no such socket.
async fn hear_here(here: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match here {
        Some(here) => here.recv_from(buffer).await.map(|(len, _)| len),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A kernel drops a SYN when as many connections as it keeps wait to be accepted.
    #[tokio::test]
    async fn a_lost_syn_costs_a_fifth_of_the_time_and_not_all_of_it() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let filler = std::net::TcpStream::connect(address).unwrap();
        let pace = Pace::of(Duration::from_secs(1));
        let (began, makes_room) = (Instant::now(), pace.retransmission / 2);
        let accepting = tokio::task::spawn_blocking(move || {
            std::thread::sleep(makes_room);
            listener.accept().map(|accepted| (accepted, listener))
        });
        connected(address, pace).await.unwrap();
        let took = began.elapsed();
        assert!(took >= makes_room && took < Duration::from_secs(1), "{took:?}: the kernel's own second try is later");
        drop((accepting.await.unwrap().unwrap(), filler));
    }
}
