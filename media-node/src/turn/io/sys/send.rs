//! Datagrams out.

use std::{
    cell::Cell,
    io,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use nix::libc;

use super::{
    address::Name,
    control::{self, Control},
};

/// Messages a system call. One is a datagram, or several of one length to one place that the kernel cuts apart
/// (`UDP_SEGMENT`, Linux 4.18).
const MESSAGES: usize = 64;
/// Datagrams a message: what every kernel with `UDP_SEGMENT` takes.
const SEGMENTS: u16 = 64;
/// Bytes a message: the largest UDP payload over IPv4.
const MESSAGE_BYTES: u32 = 65_507;
/// Datagrams a batch.
const DATAGRAMS: usize = 256;
/// Head, payload, tail.
const PARTS: usize = 3;
/// Longest head, bytes.
const HEAD: usize = 64;

const NO_HEADER: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// One datagram to send: its parts, in order, become one payload.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'h, 'p> {
    pub to: SocketAddr,
    /// The address of this machine to send from, where the socket is bound to all of them.
    pub from: Option<IpAddr>,
    /// At most 64 bytes. Copied.
    pub head: &'h [u8],
    pub payload: &'p [u8],
    pub tail: &'static [u8],
}

impl Outgoing<'_, '_> {
    fn len(&self) -> usize {
        self.head.len() + self.payload.len() + self.tail.len()
    }
}

/// Datagrams of one length, the last of which may be shorter, from one address to one other.
#[derive(Clone, Copy)]
struct Message {
    to: SocketAddr,
    from: Option<IpAddr>,
    first_iovec: usize,
    iovecs: usize,
    datagrams: u16,
    /// Length of the first datagram.
    segment: usize,
    bytes: u32,
    /// Whether all have the length of the first, so that another one may follow.
    even: bool,
}

/// Room to send from. Belongs to one thread.
pub struct SendRoom {
    messages: Vec<Message>,
    iovecs: Vec<libc::iovec>,
    heads: Box<[Cell<[u8; HEAD]>]>,
    heads_used: usize,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
    /// Datagrams longer than this go out one by one.
    largest_segment: usize,
}

/// What is gathered for one socket; the payloads stay borrowed for as long as it lives.
pub struct Batch<'r, 'p> {
    room: &'r mut SendRoom,
    payloads: PhantomData<&'p [u8]>,
}

impl SendRoom {
    pub fn new() -> Self {
        Self {
            messages: Vec::with_capacity(MESSAGES),
            iovecs: Vec::with_capacity(DATAGRAMS * PARTS),
            heads: vec![Cell::new([0; HEAD]); DATAGRAMS].into_boxed_slice(),
            heads_used: 0,
            names: vec![Name::new(SocketAddr::from(([0; 4], 0))).0; MESSAGES].into_boxed_slice(),
            controls: vec![Control::new(); MESSAGES].into_boxed_slice(),
            headers: vec![NO_HEADER; MESSAGES].into_boxed_slice(),
            largest_segment: usize::MAX,
        }
    }

    /// An empty one.
    pub fn batch<'p>(&mut self) -> Batch<'_, 'p> {
        self.clear();
        Batch { room: self, payloads: PhantomData }
    }

    /// Longest datagram that the kernel is asked to cut off from others, bytes.
    #[cfg(test)]
    pub fn largest_segment(&self) -> usize {
        self.largest_segment
    }

    pub fn set_largest_segment(&mut self, bytes: usize) {
        self.largest_segment = bytes;
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.iovecs.clear();
        self.heads_used = 0;
    }

    fn add_iovec(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            // The kernel only reads from it.
            self.iovecs.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
    }

    fn add_head(&mut self, head: &[u8]) {
        let Some(room) = self.heads.get(self.heads_used).filter(|_| !head.is_empty()) else { return };
        debug_assert!(head.len() <= HEAD);
        let length = head.len().min(HEAD);
        // SAFETY: the cell holds HEAD bytes, no less than `length`; `head` lies elsewhere, as nobody borrows from a cell.
        unsafe { ptr::copy_nonoverlapping(head.as_ptr(), room.as_ptr().cast(), length) };
        self.iovecs.push(libc::iovec { iov_base: room.as_ptr().cast(), iov_len: length });
        self.heads_used += 1;
    }

    /// Fills in the header of a message.
    fn prepare(&mut self, index: usize) {
        let Message { to, from, first_iovec, iovecs, datagrams, segment, .. } = self.messages[index];
        let (name, length) = Name::new(to);
        self.names[index] = name;
        let segment = u16::try_from(segment).ok().filter(|_| datagrams > 1);
        let header = &mut self.headers[index];
        *header = NO_HEADER;
        header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_hdr.msg_namelen = length;
        header.msg_hdr.msg_iov = self.iovecs[first_iovec..first_iovec + iovecs].as_mut_ptr();
        header.msg_hdr.msg_iovlen = iovecs as _;
        control::set(&mut header.msg_hdr, &mut self.controls[index], from, segment);
    }
}

impl<'p> Batch<'_, 'p> {
    /// Whether it has to be sent before more is pushed.
    pub fn is_full(&self) -> bool {
        let SendRoom { messages, iovecs, heads, heads_used, .. } = &*self.room;
        messages.len() == MESSAGES || iovecs.len() + PARTS > DATAGRAMS * PARTS || *heads_used == heads.len()
    }

    /// Adds one behind those that are there. [`Batch::is_full`] must be false.
    pub fn push(&mut self, datagram: Outgoing<'_, 'p>) {
        let (length, largest) = (datagram.len(), self.room.largest_segment);
        let bytes = length as u32;
        let first_iovec = self.room.iovecs.len();
        self.room.add_head(datagram.head);
        self.room.add_iovec(datagram.payload);
        self.room.add_iovec(datagram.tail);
        let iovecs = self.room.iovecs.len() - first_iovec;
        let joined = self.room.messages.last_mut().filter(|last| {
            last.even
                && last.to == datagram.to
                && last.from == datagram.from
                && (1..=last.segment).contains(&length)
                && last.segment <= largest
                && last.datagrams < SEGMENTS
                && last.bytes + bytes <= MESSAGE_BYTES
        });
        if let Some(last) = joined {
            last.iovecs += iovecs;
            last.datagrams += 1;
            last.bytes += bytes;
            last.even = length == last.segment;
            return;
        }
        let Outgoing { to, from, .. } = datagram;
        let (datagrams, segment) = (1, length);
        self.room.messages.push(Message { to, from, first_iovec, iovecs, datagrams, segment, bytes, even: true });
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.room.messages.len()
    }

    /// Datagrams of the messages from number `first` on.
    pub fn datagrams(&self, first: usize) -> usize {
        self.room.messages[first..].iter().map(|message| usize::from(message.datagrams)).sum()
    }

    /// Datagrams of one message, and the length of the first.
    pub fn message(&self, index: usize) -> (usize, usize) {
        let message = &self.room.messages[index];
        (usize::from(message.datagrams), message.segment)
    }

    /// See [`SendRoom::set_largest_segment`].
    pub fn set_largest_segment(&mut self, bytes: usize) {
        self.room.set_largest_segment(bytes);
    }

    pub fn clear(&mut self) {
        self.room.clear();
    }

    /// Sends the messages from number `first` on; how many were taken, or the error that the first of them met.
    pub fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let len = self.room.messages.len();
        for index in first..len {
            self.room.prepare(index);
        }
        let Some(headers) = self.room.headers.get_mut(first..len) else { return Ok(0) };
        // SAFETY: `prepare` has pointed these headers at names, control bytes, iovecs and heads in `room`, which is borrowed
        // exclusively and has not changed since, and the other iovecs point at payloads that `'p` keeps borrowed while
        // `self` lives, or at tails that live for ever.
        let sent = unsafe {
            // Not by the C library's function: see `RecvRoom::receive`.
            let (headers, count) = (headers.as_mut_ptr(), headers.len() as libc::c_uint);
            libc::syscall(libc::SYS_sendmmsg, socket.as_raw_fd(), headers, count, FLAGS)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Sends one datagram of one message by itself.
    pub fn send_apart(&mut self, socket: BorrowedFd<'_>, index: usize, datagram: usize) -> io::Result<()> {
        self.room.prepare(index);
        let Message { first_iovec, iovecs, segment, from, .. } = self.room.messages[index];
        let iovecs = &mut self.room.iovecs[first_iovec..first_iovec + iovecs];
        let (start, count) = nth_segment(iovecs, segment, datagram);
        let header = &mut self.room.headers[index].msg_hdr;
        header.msg_iov = iovecs[start..start + count].as_mut_ptr();
        header.msg_iovlen = count as _;
        header.msg_control = ptr::null_mut();
        header.msg_controllen = 0;
        control::set(header, &mut self.room.controls[index], from, None);
        // SAFETY: as in `send`, for one header and some of its iovecs.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), header, FLAGS) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Which parts make up the `n`th datagram, where each has `segment` bytes and the last one what is left: the first of them,
/// and how many.
fn nth_segment(parts: &[libc::iovec], segment: usize, n: usize) -> (usize, usize) {
    let mut start = 0;
    let mut bytes = 0;
    let mut number = 0;
    for (index, part) in parts.iter().enumerate() {
        bytes += part.iov_len;
        let last = index + 1 == parts.len();
        if bytes == segment || last {
            if number == n {
                return (start, index + 1 - start);
            }
            (number, start, bytes) = (number + 1, index + 1, 0);
        }
    }
    // A datagram without a payload has no parts.
    (0, 0)
}

/// Sends one datagram, here and now.
pub fn send_now(socket: BorrowedFd<'_>, to: SocketAddr, from: Option<IpAddr>, bytes: &[u8]) -> io::Result<()> {
    let (mut name, length) = Name::new(to);
    let mut control = Control::new();
    // The kernel only reads from it.
    let mut iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = NO_HEADER.msg_hdr;
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = length;
    header.msg_iov = ptr::from_mut(&mut iovec);
    header.msg_iovlen = 1;
    control::set(&mut header, &mut control, from, None);
    // SAFETY: the header points at locals and at `bytes`, which live until the call has returned, with their lengths.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, FLAGS) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;
    use crate::turn::io::sys::RecvRoom;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        b.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        (a, b)
    }

    fn outgoing<'p>(
        to: SocketAddr,
        head: &'static [u8],
        payload: &'p [u8],
        tail: &'static [u8],
    ) -> Outgoing<'static, 'p> {
        Outgoing { to, from: None, head, payload, tail }
    }

    #[test]
    fn datagrams_of_one_length_to_one_place_are_one_message_and_arrive_one_by_one() {
        let (out, peer) = pair();
        let to = peer.local_addr().unwrap();
        let mut room = SendRoom::new();
        let mut batch = room.batch();
        for payload in [&b"one!"[..], b"two!", b"3", b"four", b"", b"five", b"six"] {
            batch.push(outgoing(to, b"<", payload, b">"));
        }
        batch.push(outgoing(to, b"", b"", b""));
        batch.push(outgoing(to, b"", b"", b""));
        // Three with a shorter last one; one with an empty payload after it; a longer one begins anew; the empty ones.
        assert_eq!((batch.len(), batch.datagrams(0)), (5, 9));
        assert_eq!(batch.send(out.as_fd(), 0).unwrap(), 5);
        let mut buffer = [0; 100];
        for expected in ["<one!>", "<two!>", "<3>", "<four>", "<>", "<five>", "<six>", "", ""] {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), expected);
        }
    }

    #[test]
    fn a_message_can_be_sent_one_datagram_at_a_time() {
        let (out, peer) = pair();
        let mut room = SendRoom::new();
        let mut batch = room.batch();
        for payload in [&b"aa"[..], b"bb", b"c"] {
            batch.push(outgoing(peer.local_addr().unwrap(), b"<", payload, b""));
        }
        assert_eq!(batch.message(0), (3, 3));
        for datagram in 0..3 {
            batch.send_apart(out.as_fd(), 0, datagram).unwrap();
        }
        let mut buffer = [0; 100];
        for expected in ["<aa", "<bb", "<c"] {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), expected);
        }
    }

    #[test]
    fn datagrams_longer_than_the_kernel_cuts_go_out_one_by_one() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut room = SendRoom::new();
        room.set_largest_segment(3);
        let mut batch = room.batch();
        for payload in [&b"four"[..], b"four", b"one", b"one"] {
            batch.push(outgoing(to, b"", payload, b""));
        }
        assert_eq!((0..batch.len()).map(|index| batch.message(index).0).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn a_batch_is_full_before_its_room_is() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut room = SendRoom::new();
        let mut batch = room.batch();
        let mut pushed = 0;
        while !batch.is_full() {
            batch.push(outgoing(to, b"head", b"payload", b"tail"));
            pushed += 1;
        }
        assert_eq!((pushed, batch.len()), (DATAGRAMS, DATAGRAMS.div_ceil(usize::from(SEGMENTS))));
        let mut batch = room.batch();
        let mut pushed = 0;
        while !batch.is_full() {
            // Channel data over UDP: nothing behind the payload.
            batch.push(outgoing(to, b"head", b"payload", b""));
            pushed += 1;
        }
        assert!(pushed <= DATAGRAMS, "{pushed} datagrams, and heads for {DATAGRAMS}");
        let mut batch = room.batch();
        for port in 1..=u16::try_from(MESSAGES).unwrap() {
            assert!(!batch.is_full(), "{port}");
            batch.push(outgoing(SocketAddr::new(to.ip(), port), b"", b"x", b""));
        }
        assert!(batch.is_full());
    }

    #[test]
    fn what_was_sent_as_one_is_received_as_one_and_seen_one_by_one() {
        let (out, peer) = pair();
        peer.set_nonblocking(true).unwrap();
        crate::turn::io::sys::receive_coalesced(peer.as_fd()).unwrap();
        let payload = [7; 1200];
        let mut room = SendRoom::new();
        let mut batch = room.batch();
        (0..40).for_each(|_| batch.push(outgoing(peer.local_addr().unwrap(), b"\x40\0\x04\xb0", &payload, b"")));
        assert_eq!(batch.send(out.as_fd(), 0).unwrap(), 1);
        let mut received = RecvRoom::new(4);
        assert_eq!(received.receive(peer.as_fd(), 4).unwrap(), 1, "places");
        assert_eq!(received.datagrams().count(), 40);
        assert!(received.datagrams().all(|d| d.bytes.len() == 1204 && d.bytes[4..] == payload));
    }
}
