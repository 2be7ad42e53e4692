//! A client's side of what a round asks, sans-IO: requests as bytes, answers from bytes (RFC 8656 sections 6, 8, 10, 12,
//! with the long-term credentials of RFC 8489 section 9.2, in the form that RFC 5389 has as well).
//!
//! The node that asks itself does not check the integrity of answers: they are told by a random transaction id on a connected
//! socket, and whoever can forge one here has the machine already. Who asks from elsewhere uses [`Client::trusts`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::turn::proto::{
    Secret,
    attribute::{
        CHANNEL_NUMBER, ERROR_CODE, LIFETIME, NONCE, REALM, REQUESTED_ADDRESS_FAMILY, REQUESTED_TRANSPORT,
        TRANSPORT_UDP, USERNAME, XOR_MAPPED_ADDRESS, XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS, read_xor_address,
    },
    credentials::{Key, PasswordAlgorithm},
    encode::Writer,
    message::{Class, Message, method},
};

/// All probes have names that begin so, those of other machines ([`crate::probe`]), too: they are nobody whom an end would cut off.
pub const PROBES: &str = "rtc-fleet-probe";
/// Whom the quota counts. Two, as a user may be allowed one allocation.
pub const USERS: [&str; 2] = ["rtc-fleet-probe", "rtc-fleet-probe-peer"];
/// Seconds. Only Allocate has to come within them.
const CREDENTIALS: u64 = 30;
/// Permissions are for addresses; the port is discard.
const ANY_PORT: u16 = 9;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Allocate { v6: bool },
    Permission(IpAddr),
    Channel { number: u16, peer: SocketAddr },
    Delete,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub bytes: Vec<u8>,
    pub transaction: [u8; 12],
}

/// Credentials, and what a server said that goes with them. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Client {
    username: String,
    password: String,
    /// None before the challenge.
    challenge: Option<Challenge>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: Vec<u8>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 for success.
    pub code: u16,
    /// Only to Allocate.
    pub relayed: Option<SocketAddr>,
    /// Where the client is seen. Only to Allocate.
    pub mapped: Option<SocketAddr>,
    pub challenge: Option<Challenge>,
}

impl Client {
    /// `user` is one of [`USERS`], `unix` is now.
    pub fn new(user: &str, secret: &Secret, unix: u64) -> Self {
        let username = format!("{}:{user}", unix + CREDENTIALS);
        let password = secret.password(&username);
        Self::named(username, password)
    }

    pub fn named(username: String, password: String) -> Self {
        Self { username, password, challenge: None }
    }

    pub fn learn(&mut self, challenge: Challenge) {
        self.challenge = Some(challenge);
    }

    pub fn is_challenged(&self) -> bool {
        self.challenge.is_some()
    }

    /// Whether an answer to a signed request is from somebody who knows the password (RFC 8489 section 9.2.5).
    pub fn trusts(&self, answer: &[u8]) -> bool {
        let key = self.key();
        key.zip(Message::decode(answer).ok()).is_some_and(|(key, message)| message.is_signed_with(&key))
    }

    fn key(&self) -> Option<Key> {
        let Challenge { realm, .. } = self.challenge.as_ref()?;
        Some(Key::new(PasswordAlgorithm::Md5, &self.username, realm, &self.password))
    }

    /// Signed once there was a challenge.
    pub fn request(&self, ask: Ask, transaction: [u8; 12]) -> Request {
        let method = match ask {
            Ask::Allocate { .. } => method::ALLOCATE,
            Ask::Permission(_) => method::CREATE_PERMISSION,
            Ask::Channel { .. } => method::CHANNEL_BIND,
            Ask::Delete => method::REFRESH,
        };
        let mut bytes = Vec::new();
        let mut writer = Writer::start(&mut bytes, Class::Request, method, transaction);
        match ask {
            Ask::Allocate { v6 } => {
                writer.attribute(REQUESTED_TRANSPORT, &[TRANSPORT_UDP, 0, 0, 0]);
                if v6 {
                    writer.attribute(REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
                }
            }
            Ask::Permission(peer) => {
                writer.address(XOR_PEER_ADDRESS, SocketAddr::new(peer, ANY_PORT));
            }
            Ask::Channel { number, peer } => {
                writer.number(CHANNEL_NUMBER, u32::from(number) << 16).address(XOR_PEER_ADDRESS, peer);
            }
            Ask::Delete => {
                writer.number(LIFETIME, 0);
            }
        }
        if let Some((Challenge { realm, nonce }, key)) = self.challenge.as_ref().zip(self.key()) {
            writer.attribute(USERNAME, self.username.as_bytes()).attribute(REALM, realm.as_bytes());
            writer.attribute(NONCE, nonce).sha1(key.as_bytes());
        }
        writer.finish();
        Request { bytes, transaction }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

/// The answer in `bytes`, if it is one to this transaction.
pub fn read(bytes: &[u8], transaction: [u8; 12]) -> Option<Answer> {
    let message = Message::decode(bytes).ok().filter(|message| message.transaction() == transaction)?;
    let code = match (message.class(), message.attribute(ERROR_CODE)) {
        (Class::Success, _) => 0,
        (Class::Error, Some(&[_, _, class, number, ..])) => u16::from(class) * 100 + u16::from(number),
        _ => return None,
    };
    let challenge = message
        .attribute(REALM)
        .zip(message.attribute(NONCE))
        .map(|(realm, nonce)| Challenge { realm: String::from_utf8_lossy(realm).into_owned(), nonce: nonce.to_vec() });
    let address = |kind| message.attribute(kind).and_then(|value| read_xor_address(value, transaction));
    let (relayed, mapped) = (address(XOR_RELAYED_ADDRESS), address(XOR_MAPPED_ADDRESS));
    Some(Answer { code, relayed, mapped, challenge })
}

/// Without padding, which a payload of a multiple of four bytes needs nowhere (RFC 8656 section 12.5).
pub fn channel_data(number: u16, payload: &[u8; 16]) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    [&[high, low, 0, 16], payload.as_slice()].concat()
}
