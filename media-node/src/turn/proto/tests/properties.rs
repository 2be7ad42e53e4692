use proptest::collection::vec;
use proptest::prelude::*;

use crate::turn::proto::fuzzing;
use crate::turn::proto::test_support::{Bytes, Event, Story};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        fuzzing::decode(&bytes);
    }

    #[test]
    fn no_attributes_make_the_parser_panic(
        kind in any::<[u8; 2]>(),
        attributes in vec((any::<u16>(), vec(any::<u8>(), 0..40)), 0..8)
    ) {
        let mut bytes = [&[kind[0] & 0x3F, kind[1], 0, 0, 0x21, 0x12, 0xA4, 0x42], &[7; 12][..]].concat();
        for (kind, value) in attributes {
            bytes.extend_from_slice(&(kind % 0x40).to_be_bytes());
            bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let len = u16::try_from(bytes.len() - 20).unwrap();
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        fuzzing::decode(&bytes);
    }

    /// Amplification, isolation, retransmission, own addresses and leaks are checked in `Story`.
    #[test]
    fn whatever_happens_in_whatever_order_clients_are_kept_apart_and_nothing_leaks(
        events in vec(event(), 0..120)
    ) {
        let mut story = Story::new();
        for event in &events {
            story.step(event);
        }
        story.end();
    }
}

fn event() -> impl Strategy<Value = Event> {
    vec(any::<u8>(), 24).prop_map(|bytes| Event::read(&mut Bytes(&bytes)))
}
