//! The system calls that need `unsafe`: batches of datagrams, the error queue of a socket, and a few socket options.
//!
//! Nothing else in the crate is unsafe. The safe wrappers at hand allocate for every control message that is sent, and
//! lose room for control messages when their headers are used again, so the calls are made here: room is allocated once,
//! and every header is filled in from scratch right before the call that reads it, so that no pointer outlives a call.
#![allow(unsafe_code)]
// Batch sizes and the sizes of structs; all below 64 KiB.
#![allow(clippy::cast_possible_truncation)]

mod address;
mod control;
mod receive;
mod send;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use nix::libc;

pub use self::{
    receive::RecvRoom,
    send::{Batch, Outgoing, SendRoom, send_now},
};

/// Has the kernel hand over datagrams of one sender that came together as one, if it can (`UDP_GRO`, Linux 5.0).
pub fn receive_coalesced(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// What becomes of datagrams that are longer than the path takes, and of the DF bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// IPv4: no DF bit, routers may fragment. IPv6: this machine does.
    Allowed,
    /// The DF bit where the datagram fits into the path as far as it is known, fragments of this machine where it does not.
    Here,
    /// The DF bit, and an error where the datagram does not fit into the path as far as it is known.
    Refused,
    /// The DF bit, whatever is known of the path: whoever asked for it hears what the path says.
    Probe,
}

pub fn set_fragments(socket: BorrowedFd<'_>, v4: bool, fragments: Fragments) -> io::Result<()> {
    let (level, name, value) = match (v4, fragments) {
        (true, Fragments::Allowed) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (true, Fragments::Here) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT),
        (true, Fragments::Refused) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (true, Fragments::Probe) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        (false, Fragments::Allowed | Fragments::Here) => {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT)
        }
        (false, Fragments::Refused) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
        (false, Fragments::Probe) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
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
