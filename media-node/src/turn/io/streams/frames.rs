//! From received bytes to the server, message by message.

use super::{
    Core,
    connection::{Connection, Output},
    counters::Closed,
    limits::{Limits, STRANGERS_FRAME},
};
use crate::turn::{
    io::{shard::carries_data, to_peers::ToPeers},
    proto::{
        Now, Reaction,
        framing::{self, Broken, FRAME_MAX, Next},
    },
};

/// Received bytes of one connection on their way to the server.
pub struct Frames<'s, 'c> {
    pub connection: &'s mut Connection,
    pub output: &'s mut Output,
    pub limits: &'s Limits,
    pub core: &'s mut Core<'c>,
    pub now: Now,
}

impl Frames<'_, '_> {
    /// What follows the bytes of the last call.
    pub fn all(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        let longest = if self.connection.is_stranger { STRANGERS_FRAME } else { FRAME_MAX };
        if !self.connection.rest.is_empty() {
            let Some(frame) = self.connection.rest.complete(&mut bytes, longest)? else { return Ok(()) };
            self.run(&mut frame.as_slice(), longest)?;
        }
        self.run(&mut bytes, longest)?;
        if !bytes.is_empty() {
            self.connection.rest.keep(bytes);
        }
        Ok(())
    }

    /// Hands on the whole frames of `bytes`, and leaves the rest.
    fn run(&mut self, bytes: &mut &[u8], longest: usize) -> Result<(), Broken> {
        let Self { connection, output, limits, core, now } = self;
        let answers = limits.answers(connection.is_stranger);
        let mut to_peers = ToPeers::new();
        let mut result = Ok(());
        while connection.broken != Some(Closed::SlowReader) {
            let length = match framing::next(bytes, longest) {
                Ok(Next::Frame(length)) => length,
                Ok(Next::Missing(_)) => break,
                Err(broken) => {
                    result = Err(broken);
                    break;
                }
            };
            let (frame, later) = bytes.split_at(length);
            *bytes = later;
            connection.last_message = Some(now.instant);
            if to_peers.is_full() || !carries_data(frame) {
                // A request can close relay sockets that data before it is to leave from.
                to_peers.send(core.sender, core.relays);
            }
            match core.server.handle_client(*now, core.relays, connection.path, frame) {
                Reaction::None => {}
                Reaction::Reply(reply) => {
                    if !connection.queue_or_flush([reply, &[], &[]], answers, output) {
                        connection.broken = Some(Closed::SlowReader);
                    }
                }
                Reaction::ToPeer(to_peer) => to_peers.push(to_peer),
            }
        }
        to_peers.send(core.sender, core.relays);
        result
    }
}
