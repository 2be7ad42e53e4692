//! Socket addresses as the kernel has them.

use std::{
    mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    ptr,
};

use nix::libc;

/// Room for an address that the kernel writes.
pub const NAME: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

pub fn no_name() -> libc::sockaddr_storage {
    // SAFETY: all zeroes are a value of this struct of integers, an address of no family.
    unsafe { mem::zeroed() }
}

/// An address that the kernel reads: larger than either family's struct and aligned for it.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    /// And its length.
    pub fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (Self { v4: name }, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (Self { v6: name }, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }
}

/// The address that the kernel has written, `length` bytes of it.
pub fn address(name: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
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
