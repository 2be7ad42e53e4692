//! A client with an allocation, and a peer that it may talk to.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use media_node::turn::proto::Secret;
use media_node::turn::proto::attribute::{CHANNEL_NUMBER, LIFETIME};
use media_node::turn::proto::message::method;
use media_node::turn::proto::test_support::{Answer, Client};

use crate::clients::{self, Clients};
use crate::exchange::exchange;
use crate::row::{Framing, Transport};
use crate::server;

/// Every client has a channel of this number: numbers belong to one allocation.
pub const CHANNEL: u16 = 0x4000;
/// Clients that ask at the same time while sessions are opened.
const WINDOW: usize = 64;
/// What is asked for in a Refresh, seconds.
const LIFETIME_S: u32 = 600;

/// TURN REST credentials (draft-uberti-behave-turn-rest), good for a day less than media-node's longest.
#[derive(Clone, Debug)]
pub struct Account {
    username: String,
    password: String,
    /// Clients made so far.
    made: Cell<u64>,
}

impl Account {
    pub fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let username = format!("{}:bench", (now + Duration::from_hours(12)).as_secs());
        let password = Secret::new(server::SECRET.as_bytes())?.password(&username);
        Ok(Self { username, password, made: Cell::new(0) })
    }

    /// A client without credentials.
    pub fn nobody(index: usize) -> Client {
        Self { username: String::new(), password: String::new(), made: Cell::new(0) }.client(index)
    }

    /// Transaction ids are not used again by a later client of the same address: its requests would be taken for those
    /// of the earlier one, sent again.
    pub fn client(&self, index: usize) -> Client {
        let local = SocketAddr::from((clients::client_address(index), 0));
        let mut client = Client::new(local, server::listener(Transport::Udp), &self.username, &self.password);
        client.transactions = self.made.get() << 24;
        self.made.set(self.made.get() + 1);
        client
    }
}

pub struct Session {
    pub client: Client,
    pub peer: SocketAddr,
    pub relayed: SocketAddr,
}

/// Opens an allocation for each of `members`, with a permission, or a channel, for its peer.
pub fn open(clients: &mut Clients, account: &Account, members: Range<usize>, framing: Framing) -> Result<Vec<Session>> {
    let first = members.start;
    let mut sessions: Vec<Session> = members
        .clone()
        .map(|index| {
            let peer = clients::peer_address(index);
            Session { client: account.client(index), peer, relayed: peer }
        })
        .collect();
    let next = |index: usize, answer: Option<Answer>| {
        let session = &mut sessions[index - first];
        let Some(answer) = answer else { return Ok(Some(session.client.allocate().bare())) };
        Ok(match (answer_method(&answer), answer.code()) {
            (method::ALLOCATE, 401) => {
                session.client.learn(&answer);
                let draft = session.client.allocate();
                Some(session.client.sign(draft))
            }
            (method::ALLOCATE, 0) => {
                session.relayed = *answer.relayed().first().context("an allocation without an address")?;
                Some(admit(session, framing))
            }
            (method::CREATE_PERMISSION | method::CHANNEL_BIND, 0) => None,
            (asked, code) => bail!("client {index}: {code} to method {asked:#x}"),
        })
    };
    exchange(clients, members, WINDOW, next, |_, _| {})?;
    Ok(sessions)
}

/// The requests that keep a session alive, one after the other: a Refresh, then what it was opened with.
pub fn upkeep(session: &mut Session, framing: Framing, answer: Option<&Answer>) -> Result<Option<Vec<u8>>> {
    let Some(answer) = answer else { return Ok(Some(refresh(&mut session.client, LIFETIME_S))) };
    Ok(match (answer_method(answer), answer.code()) {
        (method::REFRESH, 438) => {
            session.client.learn(answer);
            Some(refresh(&mut session.client, LIFETIME_S))
        }
        (method::CHANNEL_BIND | method::CREATE_PERMISSION, 438) => {
            session.client.learn(answer);
            Some(admit(session, framing))
        }
        (method::REFRESH, 0) => Some(admit(session, framing)),
        (method::CHANNEL_BIND | method::CREATE_PERMISSION, 0) => None,
        (asked, code) => bail!("{}: {code} to method {asked:#x}, to keep it alive", session.relayed),
    })
}

/// The request that lets client and peer talk.
fn admit(session: &mut Session, framing: Framing) -> Vec<u8> {
    let draft = match framing {
        Framing::Indication => session.client.request(method::CREATE_PERMISSION),
        Framing::Channel => {
            session.client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[CHANNEL.to_be_bytes(), [0, 0]].concat())
        }
    };
    session.client.sign(draft.peer(session.peer))
}

/// A Refresh; a lifetime of 0 deletes the allocation.
pub fn refresh(client: &mut Client, lifetime: u32) -> Vec<u8> {
    let draft = client.request(method::REFRESH).number(LIFETIME, lifetime);
    client.sign(draft)
}

/// The method that an answer is to: the twelve bits of its type that are not the class.
pub fn answer_method(answer: &Answer) -> u16 {
    let kind = u16::from_be_bytes([answer.0[0], answer.0[1]]);
    (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2)
}
