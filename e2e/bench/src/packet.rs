//! What the loader sends, and how it recognises that again.

use std::time::{Duration, Instant};

use media_node::turn::proto::attribute::DATA;
use media_node::turn::proto::message::{ChannelData, Message};

use crate::row::{Direction, Framing};
use crate::session::{CHANNEL, Session};

/// The smallest payload that has room for a stamp.
pub const SMALLEST: usize = STAMP;
const STAMP: usize = 24;

/// The first bytes of each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was sent, since the loader's zero.
    pub at: Duration,
    /// Counted up over all sessions of a direction.
    pub sequence: u64,
    /// Whose it is.
    pub session: usize,
}

impl Stamp {
    fn write(self, payload: &mut [u8]) {
        let nanoseconds = u64::try_from(self.at.as_nanos()).unwrap_or(u64::MAX);
        payload[..8].copy_from_slice(&nanoseconds.to_be_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        payload[16..STAMP].copy_from_slice(&(self.session as u64).to_be_bytes());
    }

    pub fn read(payload: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            at: Duration::from_nanos(number(0)?),
            sequence: number(8)?,
            session: usize::try_from(number(16)?).ok()?,
        })
    }
}

/// A burst being filled in: messages of equal size, one behind the other.
pub struct Burst {
    bytes: Vec<u8>,
    /// What stands before the payload, by session. Empty towards clients.
    heads: Vec<Vec<u8>>,
    /// Bytes a message.
    pub segment: usize,
}

impl Burst {
    /// `direction` is one of the two. `payload` is a multiple of 4, so that nothing is padded.
    pub fn new(direction: Direction, framing: Framing, sessions: &mut [Session], payload: usize, count: usize) -> Self {
        let heads: Vec<Vec<u8>> =
            sessions.iter_mut().map(|session| head(direction, framing, session, payload)).collect();
        let segment = payload + heads.first().map_or(0, Vec::len);
        Self { bytes: vec![0x55; segment * count], heads, segment }
    }

    /// The messages for one session, stamped with `sequence` and those after it.
    pub fn fill(&mut self, session: usize, mut sequence: u64, at: Duration) -> &[u8] {
        let head = &self.heads[session];
        for message in self.bytes.chunks_exact_mut(self.segment) {
            message[..head.len()].copy_from_slice(head);
            Stamp { at, sequence, session }.write(&mut message[head.len()..]);
            sequence += 1;
        }
        &self.bytes
    }
}

fn head(direction: Direction, framing: Framing, session: &mut Session, payload: usize) -> Vec<u8> {
    match (direction, framing) {
        (Direction::ToClient, _) => Vec::new(),
        (_, Framing::Channel) => {
            let length = u16::try_from(payload).unwrap_or(u16::MAX);
            [CHANNEL.to_be_bytes(), length.to_be_bytes()].concat()
        }
        (_, Framing::Indication) => {
            let mut message = session.client.send(session.peer, &vec![0; payload]);
            message.truncate(message.len() - payload);
            message
        }
    }
}

/// The payload of what a client got.
pub fn unwrapped(message: &[u8]) -> Option<&[u8]> {
    match ChannelData::decode(message) {
        Some(data) => Some(data.payload),
        None => Message::decode(message).ok()?.attribute(DATA),
    }
}

/// The loader's time: nanoseconds since its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    pub fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { at: Duration::from_nanos(7), sequence: 1 << 40, session: 499 };
        let mut payload = [0; 100];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..STAMP - 1]), None);
    }
}
