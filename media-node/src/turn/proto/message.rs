//! STUN messages as they arrive (RFC 8489 sections 5, 6.3, 14), read in place.

use super::attribute::{
    FINGERPRINT, MAGIC_COOKIE, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, XOR_PEER_ADDRESS, read_xor_address,
    understood,
};
use super::credentials::Key;
use super::integrity::{fingerprint, sha1_matches};

/// Length of the STUN header.
pub const HEADER: usize = 20;

/// Methods of RFC 8489 section 18.2 and RFC 8656 section 17.
pub mod method {
    pub const BINDING: u16 = 0x001;
    pub const ALLOCATE: u16 = 0x003;
    pub const REFRESH: u16 = 0x004;
    pub const SEND: u16 = 0x006;
    pub const DATA: u16 = 0x007;
    pub const CREATE_PERMISSION: u16 = 0x008;
    pub const CHANNEL_BIND: u16 = 0x009;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than a header, the first two bits not zero, or another cookie.
    NotStun,
    /// The length field is no multiple of four, or not the length of the datagram.
    Length,
    /// An attribute reaches past the end.
    Attribute,
    /// MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 or FINGERPRINT of a length that it cannot have.
    Integrity,
    /// Something follows FINGERPRINT.
    AfterFingerprint,
}

/// Where an integrity attribute starts, and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature<'a> {
    /// Everything before the attribute.
    pub(super) covered: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A STUN message in a datagram. Its form is checked as a whole; values of attributes are not.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Attributes before this offset are obeyed; those behind are not protected by integrity, so they are ignored
    /// (RFC 8489 section 9: "agents MUST ignore").
    obeyed_to: usize,
    sha1: Option<Signature<'a>>,
    sha256: Option<Signature<'a>>,
    fingerprint: Option<Signature<'a>>,
}

impl<'a> Message<'a> {
    /// Read a whole datagram. Every attribute is inside it afterwards.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER || bytes[0] >= 0x40 || bytes[4..8] != MAGIC_COOKIE {
            return Err(Malformed::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        if !length.is_multiple_of(4) || length != bytes.len() - HEADER {
            return Err(Malformed::Length);
        }
        let mut message = Self { bytes, obeyed_to: bytes.len(), sha1: None, sha256: None, fingerprint: None };
        let mut attributes = Attributes { bytes, offset: HEADER };
        while attributes.offset < bytes.len() {
            let offset = attributes.offset;
            let (kind, value) = attributes.next().ok_or(Malformed::Attribute)?;
            if message.fingerprint.is_some() {
                return Err(Malformed::AfterFingerprint);
            }
            let signature = Signature { covered: &bytes[..offset], value };
            match (kind, value.len()) {
                (MESSAGE_INTEGRITY, 20) if message.sha1.is_none() && message.sha256.is_none() => {
                    message.sha1 = Some(signature);
                    message.obeyed_to = offset;
                }
                // At least 16 bytes, a multiple of four (RFC 8489 section 14.6).
                (MESSAGE_INTEGRITY_SHA256, 16 | 20 | 24 | 28 | 32) if message.sha256.is_none() => {
                    message.sha256 = Some(signature);
                    message.obeyed_to = message.obeyed_to.min(offset);
                }
                (FINGERPRINT, 4) => {
                    message.fingerprint = Some(signature);
                    message.obeyed_to = message.obeyed_to.min(offset);
                }
                // Behind an integrity attribute: skipped, whatever it is.
                _ if offset >= message.obeyed_to => {}
                (MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 | FINGERPRINT, _) => return Err(Malformed::Integrity),
                _ => {}
            }
        }
        Ok(message)
    }

    /// Bits 4 and 8 of the type (RFC 8489 section 5, figure 3).
    pub fn class(&self) -> Class {
        match (self.bytes[0] & 1, self.bytes[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            (_, _) => Class::Error,
        }
    }

    /// The other twelve bits of the type: see [`method`].
    pub fn method(&self) -> u16 {
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2)
    }

    pub fn transaction(&self) -> [u8; 12] {
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&self.bytes[8..HEADER]);
        transaction
    }

    /// The whole datagram.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that are to be obeyed, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        Attributes { bytes: &self.bytes[..self.obeyed_to], offset: HEADER }
    }

    /// The value of the first attribute of this type: only the first counts (RFC 8489 section 14).
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub fn has(&self, kind: u16) -> bool {
        self.attribute(kind).is_some()
    }

    /// The peers it names: the one attribute that may stand more than once. `None` inside for a malformed one.
    pub fn peers(&self) -> impl Iterator<Item = Option<std::net::SocketAddr>> {
        let transaction = self.transaction();
        self.attributes()
            .filter(|(kind, _)| *kind == XOR_PEER_ADDRESS)
            .map(move |(_, value)| read_xor_address(value, transaction))
    }

    /// Attributes that must be understood and are not.
    pub fn not_understood(&self) -> impl Iterator<Item = u16> {
        self.attributes().map(|(kind, _)| kind).filter(|kind| !understood(*kind))
    }

    pub(super) fn sha1(&self) -> Option<Signature<'a>> {
        self.sha1
    }

    pub(super) fn sha256(&self) -> Option<Signature<'a>> {
        self.sha256
    }

    /// Whether it carries a MESSAGE-INTEGRITY (RFC 8489 section 14.5) that was made with `key`.
    pub fn is_signed_with(&self, key: &Key) -> bool {
        self.sha1.is_some_and(|found| sha1_matches(key.as_bytes(), found))
    }

    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Whether FINGERPRINT, if there is one, is right (RFC 8489 section 14.7).
    pub fn fingerprint_is_right(&self) -> bool {
        self.fingerprint.is_none_or(|found| found.value == fingerprint(found.covered).to_be_bytes())
    }
}

/// Walks attributes; ends at the first that does not fit.
struct Attributes<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind_high, kind_low, high, low], rest) = self.bytes.get(self.offset..)?.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let padded = len.next_multiple_of(4);
        if padded > rest.len() {
            return None;
        }
        self.offset += 4 + padded;
        Some((u16::from_be_bytes([kind_high, kind_low]), &rest[..len]))
    }
}

/// A channel data message (RFC 8656 section 12.4) in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    pub number: u16,
    pub payload: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Over UDP the padding may be there or not (section 12.5); more than padding is not expected.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[number_high, number_low, high, low], rest) = bytes.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let number = u16::from_be_bytes([number_high, number_low]);
        if rest.len() > len.next_multiple_of(4) || !super::channels::is_channel(number) {
            return None;
        }
        Some(Self { number, payload: rest.get(..len)? })
    }
}
