//! Attribute types (RFC 8489 section 18.3, RFC 8656 section 18) and the values that are more than bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::config::Family;

pub const USERNAME: u16 = 0x0006;
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
pub const CHANNEL_NUMBER: u16 = 0x000C;
pub const LIFETIME: u16 = 0x000D;
pub const XOR_PEER_ADDRESS: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const REQUESTED_TRANSPORT: u16 = 0x0019;
pub const DONT_FRAGMENT: u16 = 0x001A;
pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
pub const PASSWORD_ALGORITHM: u16 = 0x001D;
pub const USERHASH: u16 = 0x001E;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub const RESERVATION_TOKEN: u16 = 0x0022;
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
/// The number that it had before the RFC; coturn's client up to 4.6 still uses it.
pub const ADDITIONAL_ADDRESS_FAMILY_ONCE: u16 = 0x8032;
pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
pub const ALTERNATE_SERVER: u16 = 0x8023;
pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
pub const ICMP: u16 = 0x8004;
pub const FINGERPRINT: u16 = 0x8028;
pub const MOBILITY_TICKET: u16 = 0x8030;

/// RFC 8489 section 5.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// The IANA protocol number that REQUESTED-TRANSPORT must carry (RFC 8656 section 18.8).
pub const TRANSPORT_UDP: u8 = 17;

/// Whether a request or indication that carries this attribute can be processed. Types from 0x8000 on may always be
/// skipped (RFC 8489 section 14). Those that only answers carry are known to every agent, and ignored in requests.
pub fn understood(kind: u16) -> bool {
    kind >= 0x8000
        || matches!(
            kind,
            0x0001 // MAPPED-ADDRESS
                | USERNAME
                | MESSAGE_INTEGRITY
                | ERROR_CODE
                | UNKNOWN_ATTRIBUTES
                | CHANNEL_NUMBER
                | LIFETIME
                | XOR_PEER_ADDRESS
                | DATA
                | REALM
                | NONCE
                | XOR_RELAYED_ADDRESS
                | REQUESTED_ADDRESS_FAMILY
                | EVEN_PORT
                | REQUESTED_TRANSPORT
                | DONT_FRAGMENT
                | MESSAGE_INTEGRITY_SHA256
                | PASSWORD_ALGORITHM
                | USERHASH
                | XOR_MAPPED_ADDRESS
                | RESERVATION_TOKEN
        )
}

/// The family numbers of RFC 8489 section 14.1.
pub(super) fn family(number: u8) -> Option<Family> {
    match number {
        1 => Some(Family::V4),
        2 => Some(Family::V6),
        _ => None,
    }
}

pub(super) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// The value of an XOR-…-ADDRESS (RFC 8489 section 14.2): bytes and how many of the 20 count.
pub(super) fn xor_address(address: SocketAddr, transaction: [u8; 12]) -> ([u8; 20], usize) {
    let (mut value, len) = plain_address(address);
    mask(&mut value[2..4], transaction);
    mask(&mut value[4..len], transaction);
    (value, len)
}

/// The same without the XOR (section 14.1), as ALTERNATE-SERVER has it (section 14.15).
pub(super) fn plain_address(address: SocketAddr) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    value[1] = family_number(Family::of_socket(address));
    value[2..4].copy_from_slice(&address.port().to_be_bytes());
    let len = match address.ip() {
        IpAddr::V4(ip) => {
            value[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            value[4..20].copy_from_slice(&ip.octets());
            20
        }
    };
    (value, len)
}

/// The address in the value of an XOR-…-ADDRESS, if it has the right form.
pub fn read_xor_address(value: &[u8], transaction: [u8; 12]) -> Option<SocketAddr> {
    let (&[_, number, high, low], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high, low]) ^ 0x2112;
    let ip = match family(number)? {
        Family::V4 => {
            let mut octets: [u8; 4] = address.try_into().ok()?;
            mask(&mut octets, transaction);
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        Family::V6 => {
            let mut octets: [u8; 16] = address.try_into().ok()?;
            mask(&mut octets, transaction);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    };
    Some(SocketAddr::new(ip, port))
}

fn mask(octets: &mut [u8], transaction: [u8; 12]) {
    for (octet, mask) in octets.iter_mut().zip(MAGIC_COOKIE.into_iter().chain(transaction)) {
        *octet ^= mask;
    }
}
