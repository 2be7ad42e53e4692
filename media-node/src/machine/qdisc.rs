//! What queues in front of interfaces dropped: the kernel counts it with the queue, not with the interface, and tells
//! it over a netlink socket only (`RTM_GETQDISC`). Asking needs no privilege.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR},
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
            sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
/// `struct nlmsghdr` and `struct tcmsg`.
const HEADER: usize = 16;
const TCMSG: usize = 20;
/// The parent of a queue that stands directly at its interface; it counts for all that are below it.
const ROOT: u32 = 0xFFFF_FFFF;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;
/// Answers are read until the kernel says that they are all; a machine with thousands of interfaces needs fewer.
const MAX_READS: usize = 1024;

/// Packets dropped by the queue of the interface with this index; 0 for one without a queue. 32 bits wide in the
/// kernel.
pub fn drops(interface: u32) -> io::Result<u64> {
    let socket = open()?;
    let request = request();
    sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    let mut dropped = 0;
    for _ in 0..MAX_READS {
        let len = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        match read(&buffer[..len], interface) {
            Part::More(drops) => dropped += drops,
            Part::Last(drops) => return Ok(dropped + drops),
            Part::Refused => break,
        }
    }
    Err(io::Error::other("the kernel refused to list its queues"))
}

fn open() -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
    Ok(socket)
}

/// Every queue of every interface: older kernels do not let one ask for those of one.
fn request() -> [u8; HEADER + TCMSG] {
    let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap_or(u16::MAX);
    let mut request = [0; HEADER + TCMSG];
    request[..4].copy_from_slice(&36_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETQDISC.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request
}

/// What one datagram of the answer holds.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    More(u64),
    Last(u64),
    Refused,
}

fn read(datagram: &[u8], interface: u32) -> Part {
    let mut dropped = 0;
    let mut rest = datagram;
    while let Some((kind, body, behind)) = message(rest) {
        match i32::from(kind) {
            NLMSG_DONE => return Part::Last(dropped),
            NLMSG_ERROR => return Part::Refused,
            _ if kind == RTM_NEWQDISC => dropped += of_queue(body, interface).unwrap_or(0),
            _ => {}
        }
        rest = behind;
    }
    Part::More(dropped)
}

/// Type and body of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32_at(bytes, 0)? as usize;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(HEADER..len)?;
    Some((kind, body, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// Drops of a queue, if it is the one at `interface`.
fn of_queue(body: &[u8], interface: u32) -> Option<u64> {
    if u32_at(body, 4)? != interface || u32_at(body, 12)? != ROOT {
        return None;
    }
    let statistics = attribute(body.get(TCMSG..)?, TCA_STATS2)?;
    // qlen, backlog, drops, requeues, overlimits.
    u32_at(attribute(statistics, TCA_STATS_QUEUE)?, 8).map(u64::from)
}

/// The value of the first attribute of this type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..len)?;
        if u16_at(bytes, 2)? == wanted {
            return Some(value);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// As a little-endian machine answered: "lo" (1) without a queue, and the pfifo_fast of "eth0" (4); its drops, 0 as
    /// captured, are written in.
    fn captured(drops: u32) -> Vec<u8> {
        let mut answer = bytes(concat!(
            "940000002400020001000000d0570000000000000100000000000000ffffffff020000000c0001006e6f717565756500",
            "05000c00000000003000070014000100000000000000000000000000000000001800030000000000000000000000000000",
            "000000000000002c00030000000000000000000000000000000000000000000000000000000000000000000000000000",
            "000000b00000002400020001000000d0570000000000000400000000000000ffffffff020000000f000100706669666f",
            "5f66617374000018000200030000000102020201020000010101010101010105000c000000000030000700140001002c",
            "6d2000000000007048000000000000180003000000000000000000000000000000000000000000",
            "2c0003002c6d2000000000007048000000000000000000000000000000000000000000000000000000000000"
        ));
        let queue = bytes("2c6d200000000000704800000000000018000300");
        let at = answer.windows(queue.len()).position(|window| window == queue).expect("the queue") + queue.len() + 8;
        answer[at..at + 4].copy_from_slice(&drops.to_ne_bytes());
        answer
    }

    const DONE: &str = "1400000003000200010000000000000000000000";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_drops_of_the_queue_at_an_interface_are_found_in_a_captured_answer() {
        let mut answer = captured(77);
        assert_eq!(read(&answer, 4), Part::More(77));
        assert_eq!(read(&answer, 1), Part::More(0), "without a queue");
        assert_eq!(read(&answer, 9), Part::More(0), "no such interface");
        answer.extend(bytes(DONE));
        assert_eq!(read(&answer, 4), Part::Last(77));
        assert_eq!(
            read(&bytes("240000000200000001000000000000000000000000000000000000000000000000000000"), 4),
            Part::Refused
        );
    }

    #[test]
    fn this_machine_lists_its_queues() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        assert_eq!(drops(lo).unwrap(), 0, "lo has no queue");
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic_or_loop(cut in 0..400_usize, at in 0..400_usize, byte: u8) {
            let mut answer = captured(1);
            let at = at % answer.len();
            answer[at] = byte;
            read(&answer[..cut.min(answer.len())], 4);
        }
    }
}
