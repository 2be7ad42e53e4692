//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 sections 14.5 to 14.7).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::message::{HEADER, Signature};

/// The header's length field counts up to the end of the attribute being computed, which the message at hand may not
/// do yet, or not any more: so the field is replaced on the way into the hash.
fn feed(covered: &[u8], attribute: usize, mut sink: impl FnMut(&[u8])) {
    let length = u16::try_from(covered.len() - HEADER + 4 + attribute).unwrap_or(u16::MAX);
    sink(&covered[..2]);
    sink(&length.to_be_bytes());
    sink(&covered[4..]);
}

fn hmac<M: Mac + hmac::digest::KeyInit>(key: &[u8], covered: &[u8], attribute: usize) -> M {
    let mut mac = <M as hmac::digest::KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    feed(covered, attribute, |part| mac.update(part));
    mac
}

/// The value of MESSAGE-INTEGRITY behind `covered`.
pub fn sha1(key: &[u8], covered: &[u8]) -> [u8; 20] {
    hmac::<Hmac<Sha1>>(key, covered, 20).finalize().into_bytes().into()
}

/// The value of MESSAGE-INTEGRITY-SHA256, not truncated, behind `covered`.
pub fn sha256(key: &[u8], covered: &[u8]) -> [u8; 32] {
    hmac::<Hmac<Sha256>>(key, covered, 32).finalize().into_bytes().into()
}

/// In constant time.
pub(super) fn sha1_matches(key: &[u8], signature: Signature<'_>) -> bool {
    hmac::<Hmac<Sha1>>(key, signature.covered, 20).verify_slice(signature.value).is_ok()
}

/// In constant time. A truncated value (16 bytes at least, as decoding checks) is compared as far as it goes.
pub(super) fn sha256_matches(key: &[u8], signature: Signature<'_>) -> bool {
    let len = signature.value.len();
    hmac::<Hmac<Sha256>>(key, signature.covered, len).verify_truncated_left(signature.value).is_ok()
}

/// The value of FINGERPRINT behind `covered`.
pub fn fingerprint(covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    feed(covered, 4, |part| crc.update(part));
    crc.finalize() ^ 0x5354_554E
}
