//! Messages that break the form of RFC 8489 sections 5 and 14.

use crate::turn::proto::attribute::{LIFETIME, MESSAGE_INTEGRITY, REALM, USERNAME};
use crate::turn::proto::config::{ConfigError, PortRange, Realm, RelayAddress, RelayAddresses};
use crate::turn::proto::encode::{Writer, message_type};
use crate::turn::proto::message::{Class, Malformed, Message, method};
use crate::turn::proto::test_support::{Heard, World};

fn written(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::start(&mut bytes, Class::Request, method::REFRESH, [9; 12]);
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
    writer.finish();
    bytes
}

#[test]
fn what_is_written_is_read_back() {
    for len in 0..9 {
        let value = vec![b'r'; len];
        let bytes = written(&[(REALM, &value), (LIFETIME, &[0, 0, 2, 88])]);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.attribute(REALM), Some(&value[..]));
        assert_eq!(message.attribute(LIFETIME), Some(&[0, 0, 2, 88][..]));
        assert_eq!(message.transaction(), [9; 12]);
    }
}

#[test]
fn every_class_and_method_survives_the_way() {
    for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
        for number in 0..0x1000 {
            let mut bytes = written(&[]);
            bytes[..2].copy_from_slice(&message_type(class, number));
            let message = Message::decode(&bytes).unwrap();
            assert_eq!((message.class(), message.method()), (class, number));
        }
    }
}

#[test]
fn of_repeated_attributes_the_first_counts() {
    let bytes = written(&[(LIFETIME, &[0, 0, 0, 1]), (LIFETIME, &[0, 0, 0, 2])]);
    assert_eq!(Message::decode(&bytes).unwrap().attribute(LIFETIME), Some(&[0, 0, 0, 1][..]));
}

#[test]
fn every_broken_form_is_named() {
    let good = written(&[(USERNAME, b"ann")]);
    let change = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let with_fingerprint = {
        let mut bytes = Vec::new();
        let mut writer = Writer::start(&mut bytes, Class::Request, method::REFRESH, [9; 12]);
        writer.fingerprint();
        writer.attribute(USERNAME, b"ann");
        writer.finish();
        bytes
    };
    for (case, bytes, expected) in [
        ("nothing", vec![], Malformed::NotStun),
        ("a header too short", good[..19].to_vec(), Malformed::NotStun),
        ("another first byte", change(0, 0x80), Malformed::NotStun),
        ("another cookie, as RFC 3489 had none", change(4, 0), Malformed::NotStun),
        ("a length that is no multiple of four", change(3, 9), Malformed::Length),
        ("a length beyond the end", change(3, 12), Malformed::Length),
        ("bytes beyond the length", [&good[..], &[0; 4]].concat(), Malformed::Length),
        ("an attribute beyond the end", change(23, 5), Malformed::Attribute),
        ("an integrity of the wrong length", written(&[(MESSAGE_INTEGRITY, b"short")]), Malformed::Integrity),
        ("something behind the fingerprint", with_fingerprint, Malformed::AfterFingerprint),
    ] {
        assert_eq!(Message::decode(&bytes).map(|_| ()), Err(expected), "{case}");
        let mut world = World::new();
        let client = world.stranger("ann");
        assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing, "{case}");
        assert_eq!(world.shared.totals().dropped_in_all(), 1, "{case}");
    }
}

#[test]
fn wrong_configurations_say_what_to_write_instead() {
    let relay =
        |local: &str, public: &str| RelayAddress { local: local.parse().unwrap(), public: public.parse().unwrap() };
    let relays = |all: &[RelayAddress]| RelayAddresses::new(all).map(|_| ()).unwrap_err().to_string();
    for (message, expected) in [
        (Realm::parse("").unwrap_err().to_string(), "write 1 to 63 printable ASCII"),
        (Realm::parse(&"r".repeat(64)).unwrap_err().to_string(), "write 1 to 63 printable ASCII"),
        (Realm::parse("r\u{e9}alm").unwrap_err().to_string(), "such as turn.example.org"),
        (Realm::parse("a\"b").unwrap_err().to_string(), "without quotes"),
        (PortRange::parse(1023, 2000).unwrap_err().to_string(), "write 1024 <= first <= last"),
        (PortRange::parse(3000, 2000).unwrap_err().to_string(), "write 1024 <= first <= last"),
        (relays(&[]), "write one IPv4 address, one IPv6 address, or one of each"),
        (relays(&[relay("10.0.0.1", "192.0.2.1"), relay("10.0.0.2", "192.0.2.2")]), "leave one out"),
        (relays(&[relay("10.0.0.1", "2001:db8::1")]), "of the same family"),
        (relays(&[relay("0.0.0.0", "192.0.2.1")]), "write the address that peers can reach"),
        (relays(&[relay("::ffff:10.0.0.1", "2001:db8::1")]), "write the address that peers can reach"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(PortRange::parse(49_152, 65_535).map(PortRange::count), Ok(16_384));
    assert!(matches!(Realm::parse("a b"), Ok(realm) if realm.to_string() == "a b"));
    assert!(matches!(PortRange::parse(0, 0), Err(ConfigError::Ports { first: 0, last: 0 })));
}
