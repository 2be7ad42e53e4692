//! Datagrams in.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use nix::libc;

use super::{
    address::{NAME, address, no_name},
    control::{Control, controls},
};
use crate::turn::proto::PeerError;

/// Room for what the kernel hands over at once: the largest datagram, or several as one (`UDP_GRO`).
const DATAGRAM: usize = 65_536;
/// From one room to the next. Not a power of two: the starts of all rooms would share a few sets of the processor's caches.
const STRIDE: usize = DATAGRAM + 19 * 64;

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
const NO_IOVEC: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub from: SocketAddr,
    /// The address of this machine that it came to, from a socket that asks for it.
    pub to: Option<IpAddr>,
    pub bytes: &'a [u8],
}

/// Room to receive into from one socket. Belongs to one thread.
pub struct RecvRoom {
    /// `STRIDE` bytes a place. The kernel gives memory only to pages that are written to.
    buffers: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

impl RecvRoom {
    /// With so many places: one for each datagram, or for each run of them that the kernel hands over as one.
    pub fn new(places: usize) -> Self {
        Self {
            buffers: vec![0; places * STRIDE].into_boxed_slice(),
            names: vec![no_name(); places].into_boxed_slice(),
            controls: vec![Control::new(); places].into_boxed_slice(),
            iovecs: vec![NO_IOVEC; places].into_boxed_slice(),
            headers: vec![NO_HEADER; places].into_boxed_slice(),
            received: 0,
        }
    }

    pub fn places(&self) -> usize {
        self.headers.len()
    }

    /// Points the first `count` headers at their rooms.
    fn prepare(&mut self, count: usize) {
        let buffers = self.buffers.chunks_exact_mut(STRIDE);
        let rooms = buffers.zip(self.names.iter_mut()).zip(self.controls.iter_mut());
        for (((buffer, name), control), (iovec, header)) in
            rooms.zip(self.iovecs.iter_mut().zip(self.headers.iter_mut())).take(count)
        {
            *iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: DATAGRAM };
            *header = libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: ptr::from_mut(name).cast(),
                    msg_namelen: NAME,
                    msg_iov: ptr::from_mut(iovec),
                    msg_iovlen: 1,
                    msg_control: control.as_mut_ptr(),
                    msg_controllen: Control::LEN as _,
                    msg_flags: 0,
                },
                msg_len: 0,
            };
        }
    }

    /// Takes what waits in `socket` into the first `count` places; how many were filled, or an error if nothing waits.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        self.received = 0;
        let count = count.clamp(1, self.places());
        self.prepare(count);
        // SAFETY: `prepare` has pointed the first `count` headers at rooms of the lengths they state; the rooms are boxed,
        // apart from each other and borrowed by `self`, which is held exclusively until the call has returned.
        let received = unsafe {
            // Not by the C library's function: that one is a point where threads can be cancelled, which costs.
            libc::syscall(
                libc::SYS_recvmmsg,
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut::<libc::timespec>(),
            )
        };
        self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// What the last [`RecvRoom::receive`] took, one by one. What came from no IP address or was cut off is left out.
    pub fn datagrams(&self) -> Datagrams<'_> {
        Datagrams { room: self, place: 0, of_place: None }
    }

    /// What one place holds.
    fn place(&self, place: usize) -> Option<OfPlace<'_>> {
        let header = &self.headers[place];
        let from = address(&self.names[place], header.msg_hdr.msg_namelen)?;
        let buffer = &self.buffers[place * STRIDE..][..DATAGRAM];
        let rest = buffer.get(..usize::try_from(header.msg_len).ok()?)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let mut of_place = OfPlace { from, to: None, segment: rest.len(), rest: Some(rest) };
        for control in controls(&header.msg_hdr) {
            of_place.to = of_place.to.or_else(|| control.local_address());
            of_place.segment = control.segment().unwrap_or(of_place.segment);
        }
        Some(of_place)
    }

    /// Takes one error off the socket's queue: `Ok(None)` is one that is no ICMP message, an error means that there is
    /// none left.
    pub fn receive_error(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<PeerError>> {
        self.received = 0;
        self.prepare(1);
        let header = &mut self.headers[0].msg_hdr;
        // SAFETY: as in `receive`, for one header.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        // The name is the destination of the datagram that the error is about.
        let peer = address(&self.names[0], header.msg_namelen);
        let error = controls(header).find_map(|control| control.icmp_error());
        Ok(peer.zip(error).map(|(peer, error)| PeerError {
            peer,
            icmp_type: error.ee_type,
            icmp_code: error.ee_code,
            data: error.ee_info,
        }))
    }
}

/// Datagrams of one sender that the kernel has handed over as one.
struct OfPlace<'a> {
    from: SocketAddr,
    to: Option<IpAddr>,
    /// Length of each but the last, which may be shorter.
    segment: usize,
    /// None after the last. A datagram can be empty.
    rest: Option<&'a [u8]>,
}

impl<'a> OfPlace<'a> {
    fn next(&mut self) -> Option<Datagram<'a>> {
        let rest = self.rest?;
        let (bytes, rest) = match rest.split_at_checked(self.segment) {
            Some((bytes, rest)) if !rest.is_empty() && !bytes.is_empty() => (bytes, Some(rest)),
            _ => (rest, None),
        };
        self.rest = rest;
        Some(Datagram { from: self.from, to: self.to, bytes })
    }
}

/// See [`RecvRoom::datagrams`].
pub struct Datagrams<'a> {
    room: &'a RecvRoom,
    place: usize,
    of_place: Option<OfPlace<'a>>,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        loop {
            if let Some(datagram) = self.of_place.as_mut().and_then(OfPlace::next) {
                return Some(datagram);
            }
            if self.place == self.room.received {
                return None;
            }
            self.of_place = self.room.place(self.place);
            self.place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_handed_over_as_one_are_taken_apart() {
        let cut = |bytes: &'static str, segment| {
            let from = SocketAddr::from(([127, 0, 0, 1], 9));
            let mut of_place = OfPlace { from, to: None, segment, rest: Some(bytes.as_bytes()) };
            std::iter::from_fn(move || of_place.next().map(|datagram| datagram.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(cut("aabbcc", 2), [b"aa", b"bb", b"cc"]);
        assert_eq!(cut("aabbc", 2), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(cut("aa", 2), [b"aa"]);
        assert_eq!(cut("aa", 100), [b"aa"]);
        assert_eq!(cut("", 0), [b""], "a datagram without payload");
    }
}
