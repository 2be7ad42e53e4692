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
