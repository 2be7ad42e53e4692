//! STUN messages as they leave.

use std::net::SocketAddr;

use super::attribute::{
    ERROR_CODE, FINGERPRINT, MAGIC_COOKIE, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, plain_address, xor_address,
};
use super::integrity;
use super::message::{Class, HEADER};

/// Writes one message into a buffer that is reused. Call [`Writer::finish`] last: until then the length is not set.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
    transaction: [u8; 12],
}

/// The first two bytes of a message (RFC 8489 section 5, figure 3).
pub fn message_type(class: Class, method: u16) -> [u8; 2] {
    let class = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    (class | (method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2)).to_be_bytes()
}

impl<'b> Writer<'b> {
    /// Empties the buffer and writes the header.
    pub fn start(buffer: &'b mut Vec<u8>, class: Class, method: u16, transaction: [u8; 12]) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&message_type(class, method));
        buffer.extend_from_slice(&[0, 0]);
        buffer.extend_from_slice(&MAGIC_COOKIE);
        buffer.extend_from_slice(&transaction);
        Self { buffer, transaction }
    }

    /// A value of at most 65535 bytes, padded with zeros.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&kind.to_be_bytes());
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(&value[..usize::from(len)]);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
        self
    }

    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    pub fn address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let (value, len) = xor_address(address, self.transaction);
        self.attribute(kind, &value[..len])
    }

    /// Not XORed, for the attributes that are not.
    pub fn plain_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let (value, len) = plain_address(address);
        self.attribute(kind, &value[..len])
    }

    /// Without a reason phrase: the code says it all, and answers are to be small.
    pub fn error(&mut self, code: u16) -> &mut Self {
        let [class, number] = error_code(code);
        self.attribute(ERROR_CODE, &[0, 0, class, number])
    }

    pub fn sha1(&mut self, key: &[u8]) -> &mut Self {
        let value = integrity::sha1(key, self.buffer);
        self.attribute(MESSAGE_INTEGRITY, &value)
    }

    pub fn sha256(&mut self, key: &[u8]) -> &mut Self {
        let value = integrity::sha256(key, self.buffer);
        self.attribute(MESSAGE_INTEGRITY_SHA256, &value)
    }

    pub fn fingerprint(&mut self) -> &mut Self {
        let value = integrity::fingerprint(self.buffer);
        self.number(FINGERPRINT, value)
    }

    /// Sets the length.
    pub fn finish(&mut self) {
        let length = u16::try_from(self.buffer.len() - HEADER).unwrap_or(u16::MAX);
        self.buffer[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// Class and number of RFC 8489 section 14.8: 438 is 4 and 38.
pub(super) fn error_code(code: u16) -> [u8; 2] {
    let byte = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
    [byte(code / 100), byte(code % 100)]
}
