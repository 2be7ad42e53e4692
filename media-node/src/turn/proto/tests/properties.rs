use proptest::collection::vec;
use proptest::prelude::*;

use crate::turn::proto::config::Realm;
use crate::turn::proto::fuzzing;
use crate::turn::proto::test_support::{Bytes, Event, Heard, Story, World};

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

    #[test]
    fn who_is_not_authenticated_gets_one_answer_at_the_most_and_a_small_one(
        realm in "[a-z]{1,63}",
        method in 0u16..12,
        v6 in any::<bool>(),
        fingerprint in any::<bool>(),
        attributes in vec((any::<u16>(), vec(any::<u8>(), 0..12)), 0..6)
    ) {
        let mut world = World::with(|config| config.realm = Realm::parse(&realm).unwrap());
        let mut client = world.stranger("ann");
        if v6 {
            client.path.remote = "[2001:db8:1::1]:1000".parse().unwrap();
        }
        let mut draft = client.request(method);
        for (kind, value) in &attributes {
            draft = draft.with(kind % 0x30, value);
        }
        let bytes = if fingerprint { draft.fingerprint() } else { draft }.bare();
        // One answer at the most: `Heard` has no room for two.
        if let Heard::Reply(answer) = world.hear(&client.path, &bytes) {
            let headers = if v6 { 48 } else { 28 };
            prop_assert!(answer.0.len() + headers <= 3 * (bytes.len() + headers), "{answer:?} to {}", bytes.len());
        }
        prop_assert_eq!(world.held(), [0; 8]);
    }

    /// Amplification, isolation, retransmission, own addresses and leaks are checked in `Story`.
    #[test]
    fn whatever_happens_in_whatever_order_clients_are_kept_apart_and_nothing_leaks(
        events in vec(event(), 0..120)
    ) {
        let mut story = Story::new(true);
        for event in &events {
            story.step(event);
        }
        story.end();
    }
}

fn event() -> impl Strategy<Value = Event> {
    vec(any::<u8>(), 24).prop_map(|bytes| Event::read(&mut Bytes(&bytes)))
}
