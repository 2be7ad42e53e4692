//! The system calls that need `unsafe`: batches of datagrams, the error queue of a socket, and two socket options.
//!
//! Nothing else in the crate is unsafe. The safe wrappers at hand allocate for every control message that is sent, and
//! lose room for control messages when their headers are used again, so the calls are made here: room is allocated once,
//! and every header is filled in from scratch right before the call that reads it, so that no pointer outlives a call.
#![allow(unsafe_code)]
// Batch sizes and the sizes of structs; all below 64 KiB.
#![allow(clippy::cast_possible_truncation)]

use std::{
    io,
    marker::PhantomData,
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use nix::libc;
use socket2::SockAddr;

use crate::turn::proto::PeerError;

/// Datagrams a system call. Past 32 the calls saved no longer show beside the work of the kernel per packet.
pub const BATCH: usize = 32;
/// Room for one datagram: the largest that UDP has.
const DATAGRAM: usize = 65_536;
/// The largest control message here is an extended error with the address of its sender: 16 + 16 + 28 bytes, padded.
const CONTROL: usize = 128;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

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

const NAME: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

fn no_name() -> libc::sockaddr_storage {
    // SAFETY: all zeroes are a value of this struct of integers, an address of no family.
    unsafe { mem::zeroed() }
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub from: SocketAddr,
    /// The address of this machine that it came to, from a socket that asks for it.
    pub to: Option<IpAddr>,
    pub bytes: &'a [u8],
}

/// Room to receive into. Belongs to one thread.
pub struct RecvRoom {
    /// `BATCH` times `DATAGRAM` bytes. The kernel gives memory only to pages that are written to.
    buffers: Box<[u8]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[Control; BATCH]>,
    iovecs: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
    received: usize,
}

impl RecvRoom {
    pub fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * DATAGRAM].into_boxed_slice(),
            names: Box::new([no_name(); BATCH]),
            controls: Box::new([Control([0; CONTROL]); BATCH]),
            iovecs: Box::new([NO_IOVEC; BATCH]),
            headers: Box::new([NO_HEADER; BATCH]),
            received: 0,
        }
    }

    /// Points the first `count` headers at their rooms.
    fn prepare(&mut self, count: usize) {
        let buffers = self.buffers.chunks_exact_mut(DATAGRAM);
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
                    msg_control: control.0.as_mut_ptr().cast(),
                    msg_controllen: CONTROL as _,
                    msg_flags: 0,
                },
                msg_len: 0,
            };
        }
    }

    /// Takes up to [`BATCH`] datagrams that wait in `socket`; an error if none does.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        self.prepare(BATCH);
        // SAFETY: `prepare` has pointed all BATCH headers at rooms of the lengths they state; the rooms are boxed, apart
        // from each other and borrowed by `self`, which is held exclusively until the call has returned.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// What the last [`RecvRoom::receive`] took. What came from no IP address or was cut off is left out.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let headers = self.headers.iter().take(self.received);
        headers.zip(self.names.iter()).zip(self.buffers.chunks_exact(DATAGRAM)).filter_map(
            |((header, name), buffer)| {
                if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                    return None;
                }
                let from = address(name, header.msg_hdr.msg_namelen)?;
                let to = controls(&header.msg_hdr).find_map(|control| control.local_address());
                let bytes = buffer.get(..usize::try_from(header.msg_len).ok()?)?;
                Some(Datagram { from, to, bytes })
            },
        )
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

fn address(name: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let is = |family: libc::c_int, size: usize| {
        libc::c_int::from(name.ss_family) == family && usize::try_from(length).is_ok_and(|length| length >= size)
    };
    if is(libc::AF_INET, size_of::<libc::sockaddr_in>()) {
        // SAFETY: the storage is larger and no less aligned than the struct, and every pattern of bits is a value of it.
        let v4: libc::sockaddr_in = unsafe { ptr::read(ptr::from_ref(name).cast()) };
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))));
    }
    if is(libc::AF_INET6, size_of::<libc::sockaddr_in6>()) {
        // SAFETY: as above.
        let v6: libc::sockaddr_in6 = unsafe { ptr::read(ptr::from_ref(name).cast()) };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        // The flow label differs from packet to packet and is no part of the 5-tuple.
        return Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)));
    }
    None
}

/// One control message.
struct ControlMessage<'a> {
    level: libc::c_int,
    kind: libc::c_int,
    data: &'a [u8],
}

impl ControlMessage<'_> {
    fn local_address(&self) -> Option<IpAddr> {
        match (self.level, self.kind) {
            // struct in_pktinfo: interface index, address to answer from, destination in the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let bytes: [u8; 4] = self.data.get(4..8)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(bytes)))
            }
            // struct in6_pktinfo: address, interface index.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let bytes: [u8; 16] = self.data.get(..16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(bytes)))
            }
            _ => None,
        }
    }

    fn icmp_error(&self) -> Option<libc::sock_extended_err> {
        let is_error = matches!(
            (self.level, self.kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if !is_error || self.data.len() < size_of::<libc::sock_extended_err>() {
            return None;
        }
        // SAFETY: `data` is long enough (checked above), and every pattern of bits is a value of this struct of integers.
        let error: libc::sock_extended_err = unsafe { ptr::read_unaligned(self.data.as_ptr().cast()) };
        matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6).then_some(error)
    }
}

/// The control messages that the kernel has written for `header`.
fn controls(header: &libc::msghdr) -> impl Iterator<Item = ControlMessage<'_>> {
    // SAFETY: `header` was filled in by `prepare` and updated by the kernel, so its control pointer and length describe
    // initialised bytes of a `Control` that the caller keeps borrowed.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    std::iter::from_fn(move || {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header that lies wholly inside the control bytes.
        let head = unsafe { at.as_ref() }?;
        // SAFETY: CMSG_LEN only computes.
        let data_len = head.cmsg_len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: `cmsg_len` bytes from `at` on are the message; the kernel does not write past the control length.
        let data = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(at), data_len) };
        let message = ControlMessage { level: head.cmsg_level, kind: head.cmsg_type, data };
        // SAFETY: `at` came from `header`'s own control bytes.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
        Some(message)
    })
}

/// One datagram to send: its parts, in order, become one payload.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub to: SocketAddr,
    /// The address of this machine to send from, where the socket is bound to all of them.
    pub from: Option<IpAddr>,
    pub parts: [&'a [u8]; PARTS],
}

/// Parts of a datagram at the most.
pub const PARTS: usize = 3;

/// Room to send from. Belongs to one thread.
pub struct SendRoom {
    names: Box<[Option<SockAddr>; BATCH]>,
    controls: Box<[Control; BATCH]>,
    iovecs: Box<[[libc::iovec; PARTS]; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

/// A batch whose headers are filled in; the payloads stay borrowed for as long as it lives.
pub struct Batch<'r, 'p> {
    room: &'r mut SendRoom,
    len: usize,
    payloads: PhantomData<&'p [u8]>,
}

impl SendRoom {
    pub fn new() -> Self {
        Self {
            names: Box::new([const { None }; BATCH]),
            controls: Box::new([Control([0; CONTROL]); BATCH]),
            iovecs: Box::new([[NO_IOVEC; PARTS]; BATCH]),
            headers: Box::new([NO_HEADER; BATCH]),
        }
    }

    /// Prepares the first [`BATCH`] of `datagrams`.
    pub fn batch<'p>(&mut self, datagrams: impl Iterator<Item = Outgoing<'p>>) -> Batch<'_, 'p> {
        let mut len = 0;
        for (index, Outgoing { to, from, parts }) in datagrams.take(BATCH).enumerate() {
            let name = self.names[index].insert(SockAddr::from(to));
            let iovecs = &mut self.iovecs[index];
            for (iovec, part) in iovecs.iter_mut().zip(parts) {
                // The kernel only reads from these.
                *iovec = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            }
            let header = &mut self.headers[index];
            *header = libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: name.as_ptr().cast_mut().cast(),
                    msg_namelen: name.len(),
                    msg_iov: iovecs.as_mut_ptr(),
                    msg_iovlen: PARTS as _,
                    msg_control: ptr::null_mut(),
                    msg_controllen: 0,
                    msg_flags: 0,
                },
                msg_len: 0,
            };
            if let Some(from) = from {
                set_source(&mut header.msg_hdr, &mut self.controls[index], from);
            }
            len = index + 1;
        }
        Batch { room: self, len, payloads: PhantomData }
    }
}

impl Batch<'_, '_> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sends what comes after the first `skip`; how many were taken, or the error that the first of them met.
    pub fn send(&mut self, socket: BorrowedFd<'_>, skip: usize) -> io::Result<usize> {
        let Some(headers) = self.room.headers.get_mut(skip..self.len) else { return Ok(0) };
        // SAFETY: `batch` has pointed these headers at addresses, control bytes and iovecs boxed in `room`, which is
        // borrowed exclusively, and the iovecs at payloads that `'p` keeps borrowed while `self` lives.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Adds the control message that chooses the source address.
fn set_source(header: &mut libc::msghdr, control: &mut Control, from: IpAddr) {
    // in6_pktinfo with its address first, in_pktinfo with `ipi_spec_dst` in the middle; interface 0 leaves the route open.
    let mut info = [0u8; 20];
    let (level, kind, len) = match from {
        IpAddr::V4(v4) => {
            info[4..8].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>())
        }
        IpAddr::V6(v6) => {
            info[..16].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>())
        }
    };
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute. `control` is aligned for a header and, with CONTROL bytes, larger than
    // the space of either struct, so the header and the `len` bytes after it that are written lie inside it; `info` is at
    // least `len` long (12 and 20 bytes).
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(len as libc::c_uint) as _;
        let head = libc::CMSG_FIRSTHDR(header);
        ptr::write(
            head,
            libc::cmsghdr { cmsg_len: libc::CMSG_LEN(len as libc::c_uint) as _, cmsg_level: level, cmsg_type: kind },
        );
        ptr::copy_nonoverlapping(info.as_ptr(), libc::CMSG_DATA(head), len);
    }
}

/// Whether datagrams leave with the DF bit (IPv4) or unfragmented (IPv6). With it the kernel's own idea of the path MTU
/// is left out (`IP_PMTUDISC_PROBE`), so that the client hears what the path says; without it IPv4 routers may fragment.
pub fn set_dont_fragment(socket: BorrowedFd<'_>, v4: bool, on: bool) -> io::Result<()> {
    let (level, name, value) = match (v4, on) {
        (true, true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        (true, false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (false, true) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        (false, false) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
    };
    set_option(socket, level, name, value)
}

/// Datagrams that the kernel has thrown away because the socket's receive buffer was full, since it was opened.
pub fn overflows(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // linux/sock_diag.h: an array of 32-bit numbers, the drops in the ninth place.
    const DROPS: usize = 8;
    let mut numbers = [0u32; DROPS + 1];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which are those of `numbers`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            ptr::from_mut(&mut length),
        )
    };
    if result == 0 { Ok(numbers[DROPS]) } else { Err(io::Error::last_os_error()) }
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which lives until the call has returned.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
