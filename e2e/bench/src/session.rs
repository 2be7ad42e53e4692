//! A client with an allocation, and a peer that it may talk to.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use media_node::turn::proto::Secret;
use media_node::turn::proto::attribute::CHANNEL_NUMBER;
use media_node::turn::proto::message::method;
use media_node::turn::proto::test_support::{Answer, Client};

use crate::clients::{self, Clients};
use crate::exchange::exchange;
use crate::row::Framing;
use crate::server;

/// Every client has a channel of this number: numbers belong to one allocation.
pub const CHANNEL: u16 = 0x4000;
/// Clients that ask at the same time while sessions are opened.
const WINDOW: usize = 64;

/// TURN REST credentials (draft-uberti-behave-turn-rest), good for a day less than media-node's longest.
#[derive(Clone, Debug)]
pub struct Account {
    username: String,
    password: String,
}

impl Account {
    pub fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let username = format!("{}:bench", (now + Duration::from_hours(12)).as_secs());
        let password = Secret::new(server::SECRET.as_bytes())?.password(&username);
        Ok(Self { username, password })
    }

    pub fn client(&self, index: usize) -> Client {
        let local = SocketAddr::from((clients::client_address(index), 0));
        Client::new(local, server::listener(crate::row::Transport::Udp), &self.username, &self.password)
    }
}

pub struct Session {
    pub client: Client,
    pub peer: SocketAddr,
    pub relayed: SocketAddr,
}

/// Opens `count` allocations, each with a permission, or a channel, for its peer.
pub fn open(clients: &mut Clients, account: &Account, count: usize, framing: Framing) -> Result<Vec<Session>> {
    let mut sessions: Vec<Session> = (0..count)
        .map(|index| {
            let peer = clients::peer_address(index);
            Session { client: account.client(index), peer, relayed: peer }
        })
        .collect();
    let next = |index: usize, answer: Option<Answer>| {
        let session = &mut sessions[index];
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
    exchange(clients, 0..count, WINDOW, next, |_, _| {})?;
    Ok(sessions)
}

/// The request that lets client and peer talk, also used to keep that up.
pub fn admit(session: &mut Session, framing: Framing) -> Vec<u8> {
    let draft = match framing {
        Framing::Indication => session.client.request(method::CREATE_PERMISSION),
        Framing::Channel => {
            session.client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[CHANNEL.to_be_bytes(), [0, 0]].concat())
        }
    };
    session.client.sign(draft.peer(session.peer))
}

/// The method that an answer is to: the twelve bits of its type that are not the class.
pub fn answer_method(answer: &Answer) -> u16 {
    let kind = u16::from_be_bytes([answer.0[0], answer.0[1]]);
    (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2)
}
