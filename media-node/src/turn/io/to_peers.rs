//! What clients have for peers, grouped by the socket that it leaves from.
//!
//! Packets of many clients come to a listener one after the other. Those of one client leave from one socket, mostly for one
//! peer, and the kernel takes them as one if they are given to it together. Their order stays; that between clients has no
//! meaning.

use arrayvec::ArrayVec;

use super::{
    relays::{Relays, fragments},
    sender::{Gathering, Sender},
    sys::{Fragments, Outgoing},
};
use crate::turn::proto::{RelayId, ToPeer};

/// Payloads gathered before they are sent.
const MOST: usize = 256;
/// Of an index below [`MOST`].
const INDEX_BITS: u32 = 16;

pub struct ToPeers<'p>(ArrayVec<ToPeer<'p>, MOST>);

impl<'p> ToPeers<'p> {
    pub fn new() -> Self {
        Self(ArrayVec::new())
    }

    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// [`ToPeers::is_full`] must be false.
    pub fn push(&mut self, to_peer: ToPeer<'p>) {
        self.0.push(to_peer);
    }

    /// Sends everything, and is empty again.
    pub fn send(&mut self, sender: &mut Sender, relays: &mut Relays) {
        let order = grouped(&self.0);
        let ordered = order.iter().filter_map(|index| self.0.get(usize::try_from(*index).ok()?));
        let mut from = None;
        let mut gathered = sender.gather();
        for &ToPeer { relay, to, payload, dont_fragment } in ordered {
            let source = (relay, fragments(payload.len(), dont_fragment));
            if from != Some(source) || gathered.is_full() {
                send(&mut gathered, relays, from);
                from = Some(source);
            }
            gathered.push(Outgoing { to, from: None, head: &[], payload, tail: &[] });
        }
        send(&mut gathered, relays, from);
        self.0.clear();
    }
}

fn send(gathered: &mut Gathering<'_, '_>, relays: &mut Relays, from: Option<(RelayId, Fragments)>) {
    let Some((relay, fragments)) = from else { return };
    match relays.get(relay) {
        Some(relay) => {
            relay.set_fragments(fragments);
            gathered.send(relay.exit());
        }
        None => gathered.clear(),
    }
}

/// The indexes of what is gathered, those of one relay socket one after the other, in their order.
fn grouped(to_peers: &[ToPeer<'_>]) -> ArrayVec<u64, MOST> {
    let keys = to_peers.iter().zip(0..).map(|(to_peer, index)| u64::from(to_peer.relay.0) << INDEX_BITS | index);
    let mut keys: ArrayVec<u64, MOST> = keys.take(MOST).collect();
    keys.sort_unstable();
    keys.iter_mut().for_each(|key| *key &= (1 << INDEX_BITS) - 1);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_from_one_socket_is_together_and_in_order() {
        let to_peer = |relay| ToPeer {
            relay: RelayId(relay),
            to: ([127, 0, 0, 1], 9).into(),
            payload: &[],
            dont_fragment: false,
        };
        let order = |relays: &[u32]| grouped(&relays.iter().copied().map(to_peer).collect::<Vec<_>>()).to_vec();
        assert_eq!(order(&[7, 3, 7, 3, u32::MAX, 7]), [1, 3, 0, 2, 5, 4]);
        assert_eq!(order(&[]), Vec::<u64>::new());
        assert_eq!(order(&[1; MOST]), (0..MOST as u64).collect::<Vec<_>>());
    }
}
