//! Packets that nobody should send. Pure: all that is random comes from the one generator that is given.

use std::net::{Ipv4Addr, SocketAddr};

use media_node::turn::proto::attribute as kind;
use media_node::turn::proto::message::method;
use media_node::turn::proto::test_support::Client;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};

/// The largest packet sent: one that no link splits.
const LARGEST: usize = 1400;
const MOST_CHANGES: usize = 8;
/// Bytes that mean something somewhere: lengths, flags, the first bytes of messages and channels.
const TELLING: [u8; 10] = [0x00, 0x01, 0x02, 0x04, 0x08, 0x14, 0x20, 0x40, 0x7F, 0xFF];

/// One of `corpus`, changed in some places: half of them in one, few in more than three.
pub fn changed(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus.choose(random).cloned().unwrap_or_default();
    for _ in 0..MOST_CHANGES {
        change(random, &mut bytes, corpus);
        if random.random() {
            break;
        }
    }
    bytes.truncate(LARGEST);
    if bytes.first().is_some_and(|first| *first < 0x40) && random.random_range(0..4) != 0 {
        repair(&mut bytes);
    }
    bytes
}

/// Makes a STUN message of it again, whatever it says: wrong lengths end the interest of any parser at once, so most
/// packets are to have right ones.
fn repair(bytes: &mut Vec<u8>) {
    bytes.resize((bytes.len() / 4 * 4).max(20), 0);
    let length = u16::try_from(bytes.len() - 20).unwrap_or(u16::MAX);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[4..8].copy_from_slice(&kind::MAGIC_COOKIE);
    let mut at = 20;
    while at < bytes.len() {
        let room = bytes.len() - at - 4;
        let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])).min(room);
        bytes[at + 2..at + 4].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        at += 4 + length.next_multiple_of(4);
    }
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.random_range(0..=bytes.len());
    let end = (at + random.random_range(1..=32)).min(bytes.len());
    match random.random_range(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = *TELLING.choose(random).unwrap_or(&0),
        2 if at < bytes.len() => bytes[at] = random.random(),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, copy));
        }
        5 => {
            let other = corpus.choose(random).map_or(&[][..], Vec::as_slice);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.random_range(0..=other.len())..]);
        }
        _ => {
            let mut noise = vec![0; random.random_range(1..=24)];
            random.fill_bytes(&mut noise);
            drop(bytes.splice(at..at, noise));
        }
    }
}

/// A request with attributes that may be missing, doubled, too long or nonsense, and right credentials: what lies behind
/// authentication is reached, too.
pub fn signed_nonsense(random: &mut StdRng, client: &mut Client, peer: SocketAddr) -> Vec<u8> {
    const METHODS: [u16; 5] =
        [method::BINDING, method::ALLOCATE, method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND];
    let mut draft = client.request(*METHODS.choose(random).unwrap_or(&method::BINDING));
    for _ in 0..random.random_range(0..=6) {
        draft = match random.random_range(0..10) {
            0 => draft.peer(peer),
            1 => draft.peer(SocketAddr::from((Ipv4Addr::from(random.random::<u32>()), random.random()))),
            2 => draft.with(kind::CHANNEL_NUMBER, &[0x40, random.random_range(0..8), 0, 0]),
            3 => draft.number(kind::LIFETIME, *[0, 1, 600, 3600, u32::MAX].choose(random).unwrap_or(&0)),
            4 => draft.with(kind::REQUESTED_TRANSPORT, &[*[17, 6].choose(random).unwrap_or(&17), 0, 0, 0]),
            5 => draft.with(kind::EVEN_PORT, &[random.random::<u8>() & 0x80]),
            6 => draft.with(kind::REQUESTED_ADDRESS_FAMILY, &[random.random_range(0..4), 0, 0, 0]),
            7 => draft.with(kind::DONT_FRAGMENT, &[]),
            _ => {
                let mut value = vec![0; random.random_range(0..40)];
                random.fill_bytes(&mut value);
                draft.with(random.random_range(0..0x40), &value)
            }
        };
    }
    client.sign(draft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use media_node::turn::proto::message::Message;
    use rand::SeedableRng as _;

    #[test]
    fn a_seed_gives_the_same_packets_again() {
        let corpus = vec![vec![0; 20], (0..100).collect()];
        let packets = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|_| changed(&mut random, &corpus)).collect::<Vec<_>>()
        };
        assert_eq!(packets(1), packets(1));
        assert_ne!(packets(1), packets(2));
    }

    #[test]
    fn what_is_repaired_is_a_stun_message() {
        let corpus: Vec<Vec<u8>> = (0..64).map(|length| vec![0x3F; length]).collect();
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..1000 {
            let mut bytes = corpus.choose(&mut random).unwrap().clone();
            change(&mut random, &mut bytes, &corpus);
            repair(&mut bytes);
            bytes[0] &= 0x3F;
            assert!(Message::decode(&bytes).is_ok(), "{bytes:02x?}");
        }
    }
}
