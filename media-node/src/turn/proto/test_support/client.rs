//! A TURN client: writes requests, reads answers. It does what it is told, also what the RFC forbids.

use std::net::{IpAddr, SocketAddr};

use crate::turn::proto::attribute::{
    ADDRESS_ERROR_CODE, ALTERNATE_SERVER, ERROR_CODE, LIFETIME, NONCE, PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS, REALM,
    REQUESTED_TRANSPORT, RESERVATION_TOKEN, USERHASH, USERNAME, XOR_MAPPED_ADDRESS, XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS, read_xor_address,
};
use crate::turn::proto::credentials::{Key, PasswordAlgorithm, userhash};
use crate::turn::proto::encode::Writer;
use crate::turn::proto::integrity;
use crate::turn::proto::message::{Class, Message, method};
use crate::turn::proto::server::{ClientPath, Transport};

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// RFC 5389: MD5 key, MESSAGE-INTEGRITY.
    Legacy,
    /// RFC 8489 with PASSWORD-ALGORITHM MD5.
    Md5,
    /// RFC 8489 with PASSWORD-ALGORITHM SHA-256.
    Sha256,
}

/// One client on one 5-tuple.
#[derive(Clone, Debug)]
pub struct Client {
    pub path: ClientPath,
    pub username: String,
    pub password: String,
    pub realm: String,
    pub style: Style,
    /// The last one that the server sent.
    pub nonce: Vec<u8>,
    /// How many it has begun.
    pub transactions: u64,
}

impl Client {
    pub fn new(local: SocketAddr, remote: SocketAddr, username: &str, password: &str) -> Self {
        Self {
            path: ClientPath { local, remote, transport: Transport::Udp },
            username: username.to_owned(),
            password: password.to_owned(),
            realm: String::new(),
            style: Style::Legacy,
            nonce: Vec::new(),
            transactions: 0,
        }
    }

    /// A request with a new transaction id.
    pub fn draft(&mut self, class: Class, method: u16) -> Draft {
        self.transactions += 1;
        let mut transaction = [0xC1; 12];
        transaction[..8].copy_from_slice(&self.transactions.to_be_bytes());
        Draft { class, method, transaction, attributes: Vec::new(), fingerprint: false }
    }

    pub fn request(&mut self, method: u16) -> Draft {
        self.draft(Class::Request, method)
    }

    /// An Allocate request with the one attribute that it must have.
    pub fn allocate(&mut self) -> Draft {
        self.request(method::ALLOCATE).with(REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    }

    /// A Send indication.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        self.draft(Class::Indication, method::SEND).peer(peer).with(crate::turn::proto::attribute::DATA, payload).bare()
    }

    /// Take realm and nonce from a 401 or 438.
    pub fn learn(&mut self, answer: &Answer) {
        if let (Some(realm), Some(nonce)) = (answer.value(REALM), answer.value(NONCE)) {
            self.realm = String::from_utf8_lossy(&realm).into_owned();
            self.nonce = nonce;
        }
    }

    pub fn key(&self) -> Key {
        let algorithm = match self.style {
            Style::Legacy | Style::Md5 => PasswordAlgorithm::Md5,
            Style::Sha256 => PasswordAlgorithm::Sha256,
        };
        Key::new(algorithm, &self.username, &self.realm, &self.password)
    }

    /// The draft with everything that the long-term credential mechanism adds to it.
    pub fn sign(&self, draft: Draft) -> Vec<u8> {
        let draft = draft.with(USERNAME, self.username.as_bytes());
        self.sign_named(draft)
    }

    /// The same with USERHASH.
    pub fn sign_hashed(&self, draft: Draft) -> Vec<u8> {
        let draft = draft.with(USERHASH, &userhash(&self.username, &self.realm));
        self.sign_named(draft)
    }

    fn sign_named(&self, draft: Draft) -> Vec<u8> {
        let mut draft = draft.with(REALM, self.realm.as_bytes()).with(NONCE, &self.nonce);
        let chosen = match self.style {
            Style::Legacy => None,
            Style::Md5 => Some([0, 1, 0, 0]),
            Style::Sha256 => Some([0, 2, 0, 0]),
        };
        if let Some(chosen) = chosen {
            draft = draft.with(PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFERED).with(PASSWORD_ALGORITHM, &chosen);
        }
        let key = self.key();
        draft.finish(|writer| match self.style {
            Style::Legacy => {
                writer.sha1(key.as_bytes());
            }
            Style::Md5 | Style::Sha256 => {
                writer.sha256(key.as_bytes());
            }
        })
    }
}

/// A message being made.
#[derive(Clone, Debug)]
pub struct Draft {
    class: Class,
    method: u16,
    pub transaction: [u8; 12],
    attributes: Vec<(u16, Vec<u8>)>,
    fingerprint: bool,
}

impl Draft {
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.attributes.push((kind, value.to_vec()));
        self
    }

    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    #[must_use]
    pub fn peer(self, peer: SocketAddr) -> Self {
        let (value, len) = crate::turn::proto::attribute::xor_address(peer, self.transaction);
        self.with(XOR_PEER_ADDRESS, &value[..len])
    }

    #[must_use]
    pub fn fingerprint(mut self) -> Self {
        self.fingerprint = true;
        self
    }

    /// Without credentials.
    pub fn bare(self) -> Vec<u8> {
        self.finish(|_| ())
    }

    /// With whatever `sign` writes behind the attributes.
    pub fn finish(self, sign: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::start(&mut bytes, self.class, self.method, self.transaction);
        for (kind, value) in &self.attributes {
            writer.attribute(*kind, value);
        }
        sign(&mut writer);
        if self.fingerprint {
            writer.fingerprint();
        }
        writer.finish();
        bytes
    }
}

/// An answer, read.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::decode(&self.0).expect("the server writes well-formed messages")
    }

    /// 0 for success.
    pub fn code(&self) -> u16 {
        match (self.message().class(), self.value(ERROR_CODE).as_deref()) {
            (Class::Success, None) => 0,
            (Class::Error, Some(&[0, 0, class, number, ..])) => u16::from(class) * 100 + u16::from(number),
            other => panic!("neither success nor error: {other:?}"),
        }
    }

    /// Every attribute counts here: this client reads behind integrity too.
    pub fn value(&self, kind: u16) -> Option<Vec<u8>> {
        self.values(kind).into_iter().next()
    }

    fn values(&self, kind: u16) -> Vec<Vec<u8>> {
        let mut rest = &self.0[20..];
        let mut values = Vec::new();
        while rest.len() >= 4 {
            let (found, len) =
                (u16::from_be_bytes([rest[0], rest[1]]), usize::from(u16::from_be_bytes([rest[2], rest[3]])));
            if found == kind {
                values.push(rest[4..4 + len].to_vec());
            }
            rest = &rest[4 + len.next_multiple_of(4)..];
        }
        values
    }

    pub fn has(&self, kind: u16) -> bool {
        self.value(kind).is_some()
    }

    pub fn transaction(&self) -> [u8; 12] {
        self.message().transaction()
    }

    pub fn relayed(&self) -> Vec<SocketAddr> {
        let transaction = self.transaction();
        self.values(XOR_RELAYED_ADDRESS).iter().filter_map(|value| read_xor_address(value, transaction)).collect()
    }

    pub fn mapped(&self) -> Option<SocketAddr> {
        read_xor_address(&self.value(XOR_MAPPED_ADDRESS)?, self.transaction())
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        read_xor_address(&self.value(XOR_PEER_ADDRESS)?, self.transaction())
    }

    /// Where a 300 sends the client. Not XORed (RFC 8489 section 14.15).
    pub fn alternates(&self) -> Vec<SocketAddr> {
        let read = |value: &Vec<u8>| match *value.as_slice() {
            [0, 1, high, low, ref ip @ ..] => (IpAddr::from(<[u8; 4]>::try_from(ip).unwrap()), [high, low]),
            [0, 2, high, low, ref ip @ ..] => (IpAddr::from(<[u8; 16]>::try_from(ip).unwrap()), [high, low]),
            _ => panic!("no address: {value:?}"),
        };
        let addresses = self.values(ALTERNATE_SERVER);
        addresses.iter().map(read).map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port))).collect()
    }

    pub fn lifetime(&self) -> Option<u32> {
        self.value(LIFETIME)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn token(&self) -> Option<Vec<u8>> {
        self.value(RESERVATION_TOKEN)
    }

    /// Family number and code.
    pub fn missing_family(&self) -> Option<(u8, u16)> {
        let value = self.value(ADDRESS_ERROR_CODE)?;
        Some((value[0], u16::from(value[2]) * 100 + u16::from(value[3])))
    }

    /// Whether it carries exactly one integrity attribute, the one that this client expects, and it is right.
    pub fn is_signed_for(&self, client: &Client) -> bool {
        let (message, key) = (self.message(), client.key());
        match client.style {
            Style::Legacy => {
                message.sha256().is_none()
                    && message.sha1().is_some_and(|found| integrity::sha1_matches(key.as_bytes(), found))
            }
            Style::Md5 | Style::Sha256 => {
                message.sha1().is_none()
                    && message.sha256().is_some_and(|found| integrity::sha256_matches(key.as_bytes(), found))
            }
        }
    }

    pub fn is_signed(&self) -> bool {
        self.message().sha1().is_some() || self.message().sha256().is_some()
    }

    pub fn has_right_fingerprint(&self) -> bool {
        self.message().has_fingerprint() && self.message().fingerprint_is_right()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to method {:#x}, {} bytes", self.code(), self.message().method(), self.0.len())
    }
}
