//! Mail between threads: allocations whose clients have come to another 5-tuple.

use super::{Shard, listener_for, reply_to};
use crate::turn::{
    io::to_peers::ToPeers,
    proto::{ClientPath, Mail, Now, Reaction},
};

/// Mail that is worked off per turn of the loop.
const MAIL: usize = 256;

impl Shard {
    /// What other threads have sent.
    pub(super) fn read_mail(&mut self, now: Now) {
        for _ in 0..MAIL {
            match self.server.poll_mail(now, &mut self.relays) {
                None => return,
                Some(Mail::Reply { path, bytes }) => self.reply(now, path, &bytes),
                Some(Mail::Heard { path, bytes }) => self.hear_late(now, path, &bytes),
            }
        }
        self.control.wake();
    }

    /// Those that this one has sent something.
    pub(super) fn wake_others(&mut self) {
        while let Some(shard) = self.server.poll_wake() {
            if let Some(control) = self.controls.get(usize::from(shard.0)) {
                control.wake();
            }
        }
    }

    fn reply(&mut self, now: Now, path: ClientPath, reply: &[u8]) {
        if path.transport.is_stream() {
            self.with_streams(|streams, core| streams.reply(&path, reply, now, core));
        } else if let Some(listener) = listener_for(&self.listeners, path.local) {
            self.sender.send_now(listener.exit(), reply_to(listener, path, reply));
        }
    }

    /// A message whose allocation has come only now.
    fn hear_late(&mut self, now: Now, path: ClientPath, bytes: &[u8]) {
        match self.server.handle_client(now, &mut self.relays, path, bytes) {
            Reaction::None => {}
            Reaction::Reply(reply) => {
                let reply = reply.to_vec();
                self.reply(now, path, &reply);
            }
            Reaction::ToPeer(to_peer) => {
                let mut to_peers = ToPeers::new();
                to_peers.push(to_peer);
                to_peers.send(&mut self.sender, &mut self.relays);
            }
        }
    }
}
