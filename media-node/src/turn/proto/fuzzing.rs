//! The bodies of the fuzz targets. Any panic is a fault of ours: nothing that arrives may cause one.

use std::net::{Ipv4Addr, SocketAddr};

use super::attribute::{ADDITIONAL_ADDRESS_FAMILY, CHANNEL_NUMBER, LIFETIME};
use super::counters::ShardSnapshot;
use super::framing::{self, FRAME_MAX, Next};
use super::message::{ChannelData, Message, method};
use super::test_support::{Bytes, Client, Event, Heard, Story, Style, World};

/// The framing of streams and the parser: whatever bytes arrive, every accessor works, and what is read lies inside the input.
pub fn decode(bytes: &[u8]) {
    if let Ok(Next::Frame(length)) = framing::next(bytes, FRAME_MAX) {
        assert!(length > 0 && length <= bytes.len());
    }
    if let Some(data) = ChannelData::decode(bytes) {
        assert!(data.payload.len() + 4 <= bytes.len());
    }
    let Ok(message) = Message::decode(bytes) else { return };
    let _ = (message.class(), message.method(), message.transaction(), message.fingerprint_is_right());
    let mut read = 20;
    for (_, value) in message.attributes() {
        read += 4 + value.len().next_multiple_of(4);
    }
    assert!(read <= bytes.len());
    let _ = (message.peers().count(), message.not_understood().count());
}

/// The whole core: bytes become events, and after each what must hold is checked; in the end time passes and nothing
/// may be left. Returns what was counted, so that a fuzzer can tell whether it reaches anything.
pub fn server(bytes: &[u8]) -> ShardSnapshot {
    let mut bytes = Bytes(bytes);
    let mut story = Story::new(bytes.0.len().is_multiple_of(2));
    for _ in 0..256 {
        if bytes.0.is_empty() {
            break;
        }
        story.step(&Event::read(&mut bytes));
    }
    story.end()
}

/// Messages of every kind, as a fuzzer's first inputs: name and bytes.
pub fn messages() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for style in [Style::Legacy, Style::Md5, Style::Sha256] {
        let mut world = World::new();
        let mut client = Client { style, ..world.client("ann") };
        let peer = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 9).into(), 4000);
        let mut drafts = vec![client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])];
        for number in [method::BINDING, method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
            let draft = client.request(number).peer(peer).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).number(LIFETIME, 0);
            drafts.push(draft.fingerprint());
        }
        for (n, draft) in drafts.into_iter().enumerate() {
            let request = client.sign(draft);
            if let Heard::Reply(answer) = world.hear(&client.path, &request) {
                found.push((format!("{style:?}-{n}-answer"), answer.0));
            }
            found.push((format!("{style:?}-{n}-request"), request));
        }
        found.push((format!("{style:?}-send"), client.send(peer, b"payload")));
    }
    found.push(("channel-data".to_owned(), b"\x40\x00\x00\x05hello\0\0\0".to_vec()));
    found
}
