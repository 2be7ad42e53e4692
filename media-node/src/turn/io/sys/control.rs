//! Control messages, as they come and as they go.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

use nix::libc;

/// Room for the control messages of one header. Coming: an extended error with the address of its sender (16 + 16 + 28
/// bytes), or a local address (16 + 20) and the length of segments (16 + 4); going: the same without the error. Padded.
const CONTROL: usize = 128;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Control([u8; CONTROL]);

impl Control {
    pub const LEN: usize = CONTROL;

    pub fn new() -> Self {
        Self([0; CONTROL])
    }

    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// One control message.
pub struct ControlMessage<'a> {
    level: libc::c_int,
    kind: libc::c_int,
    data: &'a [u8],
}

impl ControlMessage<'_> {
    pub fn local_address(&self) -> Option<IpAddr> {
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

    /// Of datagrams handed over as one: the length of each but the last, which may be shorter.
    pub fn segment(&self) -> Option<usize> {
        if (self.level, self.kind) != (libc::SOL_UDP, libc::UDP_GRO) {
            return None;
        }
        let bytes: [u8; 4] = self.data.get(..4)?.try_into().ok()?;
        usize::try_from(libc::c_int::from_ne_bytes(bytes)).ok().filter(|segment| *segment > 0)
    }

    pub fn icmp_error(&self) -> Option<libc::sock_extended_err> {
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
pub fn controls(header: &libc::msghdr) -> impl Iterator<Item = ControlMessage<'_>> {
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

/// Fills in the control messages of a header that is sent: the source address, and the length of the segments that the
/// kernel is to cut the payload into.
pub fn set(header: &mut libc::msghdr, control: &mut Control, from: Option<IpAddr>, segment: Option<u16>) {
    let mut used = 0;
    if let Some(from) = from {
        // in6_pktinfo with its address first, in_pktinfo with `ipi_spec_dst` in the middle; interface 0 leaves the route
        // open.
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
        used += push(control, used, level, kind, &info[..len]);
    }
    if let Some(segment) = segment {
        used += push(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    if used > 0 {
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = used as _;
    }
}

/// Writes one control message at `offset`; how much room it takes. `data` is at most 20 bytes, and there are two messages
/// at the most: 40 bytes each, which is less than [`CONTROL`].
fn push(control: &mut Control, offset: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
    // SAFETY: these only compute.
    let (space, len) = unsafe {
        (libc::CMSG_SPACE(data.len() as libc::c_uint) as usize, libc::CMSG_LEN(data.len() as libc::c_uint) as usize)
    };
    let Some(room) = control.0.get_mut(offset..offset + space) else { return 0 };
    let head = libc::cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind };
    // SAFETY: `room` holds `space` bytes, which is no less than a header and `data` behind it; its start is aligned for a
    // header, because `Control` is and every space is a multiple of that alignment.
    unsafe {
        let at: *mut libc::cmsghdr = room.as_mut_ptr().cast();
        ptr::write(at, head);
        ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(at), data.len());
    }
    space
}
