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
        send_single(&self.counters, exit, || send_now(exit.socket, to, from, payload));
    }

    /// Forgets what did not work long ago. To be called now and then.
    pub fn look(&mut self, now: Instant) {
        if self.room.largest_segment() > 0 && self.told.is_some_and(|told| now.saturating_duration_since(told) > MEMORY)
        {
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
        while done < self.batch.len() {
            match self.batch.send(exit.socket, done) {
                Ok(0) => break,
                Ok(sent) => done += sent,
                Err(error) => match remedy(&error) {
                    Remedy::Again => {}
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
        if datagrams > 1
            && let Some(largest) = largest_segment_after(error, segment)
        {
            *self.told = Some(Instant::now());
            self.batch.set_largest_segment(largest);
        }
        for datagram in 0..datagrams {
            send_single(self.counters, exit, || self.batch.send_apart(exit.socket, index, datagram));
        }
    }
}

/// One datagram. An error may be an ICMP message about an earlier one: then this one has not been tried yet.
fn send_single(counters: &IoCounters, exit: Exit<'_>, mut send: impl FnMut() -> io::Result<()>) {
    for last in [false, true] {
        let Err(error) = send() else { return };
        match remedy(&error) {
            Remedy::GiveUp => return counters.not_sent(SendFailure::QueueFull, 1),
            Remedy::Skip(SendFailure::TooLarge) if exit.fragments => return send_in_fragments(counters, exit, send),
            Remedy::Skip(why) => return counters.not_sent(why, 1),
            Remedy::Again | Remedy::OneByOne if last => counters.not_sent(SendFailure::Refused, 1),
            Remedy::Again | Remedy::OneByOne => {}
        }
    }
}

fn send_in_fragments(counters: &IoCounters, exit: Exit<'_>, send: impl FnMut() -> io::Result<()>) {
    let allowed = set_fragments(exit.socket, true, Fragments::Here);
    send_single(counters, Exit { fragments: false, ..exit }, send);
    if allowed.is_ok() {
        let _ = set_fragments(exit.socket, true, Fragments::Refused);
    }
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
        // A device without checksums of its own, or a kernel that cannot.
        Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use socket2::Socket;

    use super::{super::sockets::udp, *};

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn what_the_kernel_does_not_cut_is_not_given_to_it_again() {
        assert_eq!(largest_segment_after(&error(libc::EINVAL), 1400), Some(1399), "longer than the path takes");
        assert_eq!(largest_segment_after(&error(libc::EMSGSIZE), 1400), Some(1399), "as newer kernels say it");
        assert_eq!(largest_segment_after(&error(libc::EIO), 1400), Some(0), "a device that cannot");
        assert_eq!(largest_segment_after(&error(libc::ECONNREFUSED), 1400), None, "another reason");
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
        let (counters, socket) = (IoCounters::default(), udp(([127, 0, 0, 1], 0).into()).unwrap());
        let refused = Some(libc::ECONNREFUSED);
        assert_eq!(tries(&counters, &socket, false, &[refused, refused]), 2);
        assert_eq!(counters.send_failures(SendFailure::Refused), 1);
        assert_eq!(tries(&counters, &socket, false, &[refused, None]), 2, "the error was about an earlier one");
        assert_eq!(counters.send_failures(SendFailure::Refused), 1);
        assert_eq!(tries(&counters, &socket, false, &[Some(libc::EMSGSIZE)]), 1);
        assert_eq!(tries(&counters, &socket, false, &[Some(libc::ENOBUFS)]), 1);
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 1);
        assert_eq!(counters.send_failures(SendFailure::QueueFull), 1);
    }

    #[test]
    fn what_does_not_fit_into_the_path_goes_to_clients_in_fragments() {
        let (counters, socket) = (IoCounters::default(), udp(([127, 0, 0, 1], 0).into()).unwrap());
        assert_eq!(tries(&counters, &socket, true, &[Some(libc::EMSGSIZE), None]), 2);
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 0);
        assert_eq!(tries(&counters, &socket, true, &[Some(libc::EMSGSIZE); 2]), 2, "longer than any datagram");
        assert_eq!(counters.send_failures(SendFailure::TooLarge), 1);
    }
}
