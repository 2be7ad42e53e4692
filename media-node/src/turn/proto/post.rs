//! Letters between shards, about allocations that come to another 5-tuple: see [`super::handover`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::allocation::Allocation;
use super::arrivals::Waiting;
use super::auth::Identity;
use super::mobility::{Next, Serial};
use super::server::{ClientPath, Now, Parcel, RelayPorts, Server, ShardIndex};
use super::shared::lock;

/// What shards send each other.
#[derive(Debug)]
pub(super) enum Letter {
    Refresh(Box<Asked>),
    Answer(Box<Answered>),
    /// The client has been heard on `next`, which is the sender's.
    Fetch {
        serial: Serial,
        next: Next,
    },
    Allocation(Box<Handed>),
    /// The client is not expected on this path any more: it has announced another one, or its allocation has ended.
    Elsewhere {
        serial: Serial,
        path: ClientPath,
    },
    /// The connection on which the client was expected has gone.
    Unexpected {
        serial: Serial,
        path: ClientPath,
    },
}

/// A Refresh with a ticket, authenticated, on its way to the owner of the allocation.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) from: Next,
    pub(super) serial: Serial,
    /// Of the ticket.
    pub(super) number: u32,
    pub(super) identity: Identity,
    pub(super) request: Waiting,
}

/// What to answer, on its way back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) path: ClientPath,
    pub(super) serial: Serial,
    pub(super) answer: Waiting,
    /// The client is expected on this path, and forgotten then.
    pub(super) expected: Option<Instant>,
    /// The request, if it has ended the allocation.
    pub(super) deletion: Option<Waiting>,
}

/// An allocation on its way to another shard.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) allocation: Box<Allocation>,
    /// Its relay sockets, IPv4 first.
    pub(super) parcels: [Option<Parcel>; 2],
    pub(super) path: ClientPath,
    /// How often the sender had closed everything.
    pub(super) closings: u32,
}

/// Letters for one shard, in order.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    letters: Mutex<VecDeque<Letter>>,
    /// How many; so that an empty one is seen without a lock.
    count: AtomicUsize,
}

impl Mailbox {
    /// Each letter is a change of address of one client.
    const ROOM: usize = 256;

    /// The letter is written only if there is room. Whether it was.
    pub(super) fn put(&self, write: impl FnOnce() -> Option<Letter>) -> bool {
        let mut letters = lock(&self.letters);
        let letter = if letters.len() < Self::ROOM { write() } else { None };
        let written = letter.is_some();
        letters.extend(letter);
        self.count.store(letters.len(), Ordering::Release);
        written
    }

    pub(super) fn take(&self) -> Option<Letter> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut letters = lock(&self.letters);
        let letter = letters.pop_front();
        self.count.store(letters.len(), Ordering::Release);
        letter
    }
}

/// What comes of letters.
#[derive(PartialEq, Eq)]
pub enum Mail {
    /// Send this to the client.
    Reply { path: ClientPath, bytes: Box<[u8]> },
    /// This came from the client before its allocation did: call [`Server::handle_client`] with it.
    Heard { path: ClientPath, bytes: Box<[u8]> },
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply { path, bytes } => write!(f, "Reply({path:?}, {} bytes)", bytes.len()),
            Self::Heard { path, bytes } => write!(f, "Heard({path:?}, {} bytes)", bytes.len()),
        }
    }
}

/// One shard's end of the mail.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// Read, for the shell.
    pub(super) read: VecDeque<Mail>,
    /// Shards that were written to.
    wakes: Vec<ShardIndex>,
    /// How often everything was closed: what was sent before must not live on.
    pub(super) closings: u32,
}

impl Server {
    /// What other shards have sent. To be called until it returns `None`, whenever the shard was woken.
    pub fn poll_mail(&mut self, now: Now, relays: &mut impl RelayPorts) -> Option<Mail> {
        while self.post.read.is_empty() {
            match self.shared.mailbox(self.shard).take()? {
                Letter::Refresh(asked) => self.refresh_for(now, relays, *asked),
                Letter::Answer(answered) => self.answered(now, *answered),
                Letter::Fetch { serial, next } => self.fetched(now, relays, serial, next),
                Letter::Allocation(handed) => {
                    let slot = self.install(relays, *handed);
                    if self.allocations.get(slot).is_some_and(Allocation::orphaned) {
                        self.abandon(slot, now.instant);
                    }
                }
                Letter::Elsewhere { serial, path } => self.elsewhere(serial, path),
                Letter::Unexpected { serial, path } => self.unexpected(serial, &path),
            }
        }
        self.post.read.pop_front()
    }

    /// Which shards have mail and are to be woken.
    pub fn poll_wake(&mut self) -> Option<ShardIndex> {
        self.post.wakes.pop()
    }

    /// Whether there was room for it.
    pub(super) fn write_to(&mut self, shard: ShardIndex, letter: impl FnOnce() -> Option<Letter>) -> bool {
        let written = self.shared.mailbox(shard).put(letter);
        if written {
            self.wake(shard);
        }
        written
    }

    pub(super) fn wake(&mut self, shard: ShardIndex) {
        if !self.post.wakes.contains(&shard) {
            self.post.wakes.push(shard);
        }
    }
}
