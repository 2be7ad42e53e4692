//! Nonces that need no memory (RFC 8489 section 9.2).
//!
//! A nonce is an expiry and a MAC over it, the client's address and the security features; so it is good for one source
//! address only, for a bounded time, on every shard of the process, and nothing is stored for it.
//!
//! With security features it starts with the nonce cookie `obMatJos2` and 24 bits in base64, bit 0 first. Only bit 0,
//! password algorithms, is ever set, and exactly when the same answer carries PASSWORD-ALGORITHMS. The bits are under
//! the MAC: who strips them to bid a client down makes the nonce stale, and the next answer shows the client the truth.
//! The bit for anonymous usernames is never set: see [`super::usernames`].

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Cookie, and the features "password algorithms" alone: 0x800000.
const COOKIE_WITH_ALGORITHMS: &[u8] = b"obMatJos2gAAA";
/// Expiry (4) and MAC (8). 64 bits of MAC are enough: each guess is a packet, and what it wins is one request under a
/// nonce that is not ours, which still needs the password.
const RAW: usize = 12;
const ENCODED: usize = 16;

/// Random and new in every process.
#[derive(Clone)]
pub(super) struct NonceKey([u8; 32]);

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

/// A nonce as it is sent.
pub(super) struct Nonce {
    bytes: [u8; COOKIE_WITH_ALGORITHMS.len() + ENCODED],
    len: usize,
}

impl Nonce {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl NonceKey {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A nonce for this client until `expiry` (unix seconds); `algorithms` says that PASSWORD-ALGORITHMS goes with it.
    pub(super) fn make(&self, client: SocketAddr, expiry: u64, algorithms: bool) -> Nonce {
        let cookie = if algorithms { COOKIE_WITH_ALGORITHMS } else { &[] };
        let mut nonce = Nonce { bytes: [0; _], len: cookie.len() + ENCODED };
        nonce.bytes[..cookie.len()].copy_from_slice(cookie);
        let written = BASE64.encode_slice(self.raw(client, expiry, cookie), &mut nonce.bytes[cookie.len()..]);
        debug_assert_eq!(written, Ok(ENCODED));
        nonce
    }

    /// Whether this server gave this nonce to this client and it has not expired.
    pub(super) fn accepts(&self, nonce: &[u8], client: SocketAddr, now: u64) -> bool {
        let cookie = if nonce.starts_with(COOKIE_WITH_ALGORITHMS) { COOKIE_WITH_ALGORITHMS } else { &[] };
        let mut raw = [0; RAW];
        if BASE64.decode_slice(&nonce[cookie.len()..], &mut raw) != Ok(RAW) {
            return false;
        }
        let expiry = expiry_near(now, u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]));
        let right = subtle::ConstantTimeEq::ct_eq(&raw[..], &self.raw(client, expiry, cookie)[..]);
        bool::from(right) && now < expiry
    }

    fn raw(&self, client: SocketAddr, expiry: u64, cookie: &[u8]) -> [u8; RAW] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(&expiry.to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(cookie);
        let mut raw = [0; RAW];
        raw[..4].copy_from_slice(&expiry.to_be_bytes()[4..]);
        raw[4..].copy_from_slice(&mac.finalize().into_bytes()[..RAW - 4]);
        raw
    }
}

/// The full number of seconds whose low 32 bits are `low`, nearest to `now`: nonces live for minutes, so that is exact.
fn expiry_near(now: u64, low: u32) -> u64 {
    let [.., a, b, c, d] = now.to_be_bytes();
    let ahead = low.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
    now.saturating_add_signed(i64::from(ahead))
}
