//! The bodies of the fuzz targets. Any panic is a fault of ours: nothing that arrives may cause one.

use super::message::{ChannelData, Message};
use super::test_support::{Bytes, Event, Story};

/// The parser: whatever bytes arrive, every accessor works, and what is read lies inside the input.
pub fn decode(bytes: &[u8]) {
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

/// The whole core: bytes become events, and after each what must hold is checked; in the end time passes and nothing may
/// be left.
pub fn server(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut story = Story::new();
    for _ in 0..256 {
        if bytes.0.is_empty() {
            break;
        }
        story.step(&Event::read(&mut bytes));
    }
    story.end();
}
