//! Sends what is gathered, and copes with what does not go out.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::libc;

use super::{
    counters::{IoCounters, SendFailure},
    sys::{Batch, Fragments, Outgoing, SendRoom, send_now, set_fragments},
};

/// How long it is remembered that the kernel did not cut datagrams of some length: paths change.
const MEMORY: Duration = Duration::from_mins(1);

/// A socket to send from.
#[derive(Clone, Copy, Debug)]
pub struct Exit<'f> {
    pub socket: BorrowedFd<'f>,
    /// An IPv4 socket that has [`Fragments::Refused`], where what does not fit into the path goes out in fragments all the
    /// same.
    pub fragments: bool,
}

pub struct Sender {
    room: SendRoom,
    /// When `room` was last told to cut no more datagrams of some length.
    told: Option<Instant>,
    counters: Arc<IoCounters>,
}

impl Sender {
    pub fn new(counters: Arc<IoCounters>) -> Self {
        Self { room: SendRoom::new(), told: None, counters }
    }

    /// An empty batch for one socket, and what sends it.
    pub fn gather<'p>(&mut self) -> Gathering<'_, 'p> {
        Gathering { batch: self.room.batch(), told: &mut self.told, counters: &self.counters }
    }

    /// Sends one datagram at once.
    pub fn send_now(&self, exit: Exit<'_>, datagram: Outgoing<'_, '_>) {
        let Outgoing { to, from, payload, .. } = datagram;
        let _sent = send_single(&self.counters, exit, || send_now(exit.socket, to, from, payload));
    }

    /// Forgets what did not work long ago. To be called now and then.
    pub fn look(&mut self, now: Instant) {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) > MEMORY) {
            self.told = None;
            self.room.set_largest_segment(usize::MAX);
        }
    }
}

/// Datagrams for one socket.
pub struct Gathering<'r, 'p> {
    batch: Batch<'r, 'p>,
    told: &'r mut Option<Instant>,
    counters: &'r IoCounters,
}

impl<'p> Gathering<'_, 'p> {
    pub fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    pub fn clear(&mut self) {
        self.batch.clear();
    }

    pub fn push(&mut self, datagram: Outgoing<'_, 'p>) {
        self.batch.push(datagram);
    }

    /// Sends everything, and is empty again.
    pub fn send(&mut self, exit: Exit<'_>) {
        let mut done = 0;
        // The run that has met an error before.
        let mut failed = None;
        while done < self.batch.len() {
            match self.batch.send(exit.socket, done) {
                Ok(0) => break,
                Ok(sent) => done += sent,
                Err(error) => match remedy(&error) {
                    Remedy::Again => {}
                    // It may have been an ICMP message about an earlier one: then this one has not been tried yet.
                    Remedy::OneByOne | Remedy::Skip(_) if self.batch.message(done).0 > 1 && failed != Some(done) => {
                        failed = Some(done);
                    }
                    Remedy::GiveUp => {
                        self.counters.not_sent(SendFailure::QueueFull, self.batch.datagrams(done));
                        break;
                    }
                    Remedy::OneByOne | Remedy::Skip(_) => {
                        self.send_apart(exit, done, &error);
                        done += 1;
                    }
                },
            }
        }
        self.batch.clear();
    }

    /// The datagrams of one message, each by itself: what is wrong may be that they were sent as one.
    fn send_apart(&mut self, exit: Exit<'_>, index: usize, error: &io::Error) {
        let (datagrams, segment) = self.batch.message(index);
        let mut sent = false;
        for datagram in 0..datagrams {
            sent |= send_single(self.counters, exit, || self.batch.send_apart(exit.socket, index, datagram));
        }
        if datagrams > 1
            && sent
            && let Some(largest) = largest_segment_after(error, segment)
        {
            *self.told = Some(Instant::now());
            self.batch.set_largest_segment(largest);
        }
    }
}

/// One datagram; whether it was sent. An error may be an ICMP message about an earlier one: then this one has not been tried
/// yet.
fn send_single(counters: &IoCounters, exit: Exit<'_>, mut send: impl FnMut() -> io::Result<()>) -> bool {
    for last in [false, true] {
        let Err(error) = send() else { return true };
        let why = match remedy(&error) {
            Remedy::Skip(SendFailure::TooLarge) if exit.fragments => return send_in_fragments(counters, exit, send),
            Remedy::GiveUp => SendFailure::QueueFull,
            Remedy::Skip(why) if last => why,
            Remedy::Again | Remedy::OneByOne if last => SendFailure::Refused,
            Remedy::Again | Remedy::OneByOne | Remedy::Skip(_) => continue,
        };
        counters.not_sent(why, 1);
        break;
    }
    false
}

fn send_in_fragments(counters: &IoCounters, exit: Exit<'_>, send: impl FnMut() -> io::Result<()>) -> bool {
    let allowed = set_fragments(exit.socket, true, Fragments::Here);
    let went_out = send_single(counters, Exit { fragments: false, ..exit }, send);
    if allowed.is_ok() {
        let _ = set_fragments(exit.socket, true, Fragments::Refused);
    }
    went_out
}

/// What to do after a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Again,
    /// Nothing goes out of this socket now.
    GiveUp,
    /// It would never go out.
    Skip(SendFailure),
    OneByOne,
}

fn remedy(error: &io::Error) -> Remedy {
    match error.raw_os_error() {
        Some(libc::EINTR) => Remedy::Again,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Remedy::GiveUp,
        Some(libc::EMSGSIZE) => Remedy::Skip(SendFailure::TooLarge),
        _ => Remedy::OneByOne,
    }
}

/// What the kernel is asked to cut after it refused to cut off datagrams of `segment` bytes; None if that was not the
/// reason.
fn largest_segment_after(error: &io::Error, segment: usize) -> Option<usize> {
    match error.raw_os_error() {
        // Longer than the path takes.
        Some(libc::EINVAL | libc::EMSGSIZE) => Some(segment.saturating_sub(1)),
        // A device without checksums of its own, or a route through IPsec: others may do.
        Some(libc::EIO) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, os::fd::AsFd};

    use nix::sys::socket::{setsockopt, sockopt};
    use socket2::Socket;

    use super::{
        super::{
            sockets::udp,
            sys::{RecvRoom, receive_coalesced},
        },
        *,
    };

    const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn what_the_kernel_does_not_cut_is_not_given_to_it_again() {
        assert_eq!(largest_segment_after(&error(libc::EINVAL), 1400), Some(1399), "longer than the path takes");
        assert_eq!(largest_segment_after(&error(libc::EMSGSIZE), 1400), Some(1399), "as newer kernels say it");
        assert_eq!(largest_segment_after(&error(libc::EIO), 1400), Some(0), "a device that cannot");
        for other in [libc::ECONNREFUSED, libc::ENOPROTOOPT, libc::EOPNOTSUPP] {
            assert_eq!(largest_segment_after(&error(other), 1400), None, "what ICMP can say");
        }
    }

    fn gather(sender: &mut Sender, exit: Exit<'_>, to: SocketAddr, payloads: &[&[u8]]) {
        let mut gathered = sender.gather();
        for payload in payloads {
            gathered.push(Outgoing { to, from: None, head: &[], payload, tail: &[] });
        }
        gathered.send(exit);
    }

    #[test]
    fn an_icmp_error_about_an_earlier_datagram_does_not_take_a_run_apart() {
        let (out, peer) = (udp(HERE).unwrap(), udp(HERE).unwrap());
        for socket in [&out, &peer] {
            socket.bind(&HERE.into()).unwrap();
        }
        setsockopt(&out, sockopt::Ipv4RecvErr, &true).unwrap();
        receive_coalesced(peer.as_fd()).unwrap();
        let to = peer.local_addr().unwrap().as_socket().unwrap();
        let counters = Arc::<IoCounters>::default();
        let mut sender = Sender::new(Arc::clone(&counters));
        let exit = Exit { socket: out.as_fd(), fragments: false };
        // Nobody listens on the port of a TCP socket.
        let nobody = std::net::TcpListener::bind(HERE).unwrap().local_addr().unwrap();
        send_now(out.as_fd(), nobody, None, b"anyone?").unwrap();
        gather(&mut sender, exit, to, &[&[7u8; 100][..]; 10]);
        let mut room = RecvRoom::new(16);
        assert_eq!(room.receive(peer.as_fd(), 16).unwrap(), 1, "places");
        assert_eq!(room.datagrams().count(), 10);
        assert_eq!(counters.send_failures(SendFailure::Refused), 0);
    }

    #[test]
    fn a_run_to_where_nothing_can_be_sent_says_nothing_of_what_the_kernel_cuts() {
        let out = udp(HERE).unwrap();
        let counters = Arc::<IoCounters>::default();
        let mut sender = Sender::new(Arc::clone(&counters));
        let exit = Exit { socket: out.as_fd(), fragments: false };
        gather(&mut sender, exit, HERE, &[b"port", b"zero"]);
        assert_eq!(counters.send_failures(SendFailure::Refused), 2);
        assert_eq!(sender.room.largest_segment(), usize::MAX);
    }

    #[test]
    fn what_the_kernel_did_not_cut_is_given_to_it_again_after_a_while() {
        let mut sender = Sender::new(Arc::default());
        let began = Instant::now();
        for largest in [0, 1399] {
            sender.room.set_largest_segment(largest);
            sender.told = Some(began);
            sender.look(began + MEMORY);
            assert_eq!(sender.room.largest_segment(), largest);
            sender.look(began + MEMORY + Duration::from_secs(1));
            assert_eq!(sender.room.largest_segment(), usize::MAX);
        }
    }

    /// Sends with what `results` says, and says how often it was tried.
    fn tries(counters: &IoCounters, socket: &Socket, fragments: bool, results: &[Option<i32>]) -> usize {
        let mut tries = 0;
        send_single(counters, Exit { socket: socket.as_fd(), fragments }, || {
            tries += 1;
            results[tries - 1].map_or(Ok(()), |number| Err(error(number)))
        });
        tries
    }

    #[test]
    fn one_datagram_that_fails_is_tried_twice_and_counted_once() {
        let (counters, socket) = (IoCounters::default(), udp(HERE).unwrap());
        let refused = Some(libc::ECONNREFUSED);
        assert_eq!(tries(&counters, &socket, false, &[refused, refused]), 2);
        assert_eq!(counters.send_failures(SendFailure::Refused), 1);
        assert_eq!(tries(&counters, &socket, false, &[refused, None]), 2, "the error was about an earlier one");
        assert_eq!(counters.send_failures(SendFailure::Refused), 1);
        let too_large = Some(libc::EMSGSIZE);
        assert_eq!(tries(&counters, &socket, false, &[too_large, None]), 2, "so was this one");
        assert_eq!(tries(&counters, &socket, false, &[too_large, too_large]), 2);
        assert_eq!(tries(&counters, &socket, false, &[Some(libc::ENOBUFS)]), 1);
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 1);
        assert_eq!(counters.send_failures(SendFailure::QueueFull), 1);
    }

    #[test]
    fn what_does_not_fit_into_the_path_goes_to_clients_in_fragments() {
        let (counters, socket) = (IoCounters::default(), udp(HERE).unwrap());
        assert_eq!(tries(&counters, &socket, true, &[Some(libc::EMSGSIZE), None]), 2);
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 0);
        assert_eq!(tries(&counters, &socket, true, &[Some(libc::EMSGSIZE); 3]), 3, "longer than any datagram");
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 1);
    }
}
