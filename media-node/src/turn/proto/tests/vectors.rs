//! The samples of RFC 5769, and of RFC 8489 appendix B.1 as corrected by its erratum.

use std::net::SocketAddr;

use crate::turn::proto::attribute::{NONCE, REALM, USERHASH, USERNAME, XOR_MAPPED_ADDRESS, read_xor_address};
use crate::turn::proto::credentials::{Key, PasswordAlgorithm, userhash};
use crate::turn::proto::integrity::{sha1_matches, sha256_matches};
use crate::turn::proto::message::{Class, Message, method};

const REQUEST: &str = "\
    000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff8029\
    0008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
    80280004e57a3bcf";
const RESPONSE_V4: &str = "\
    0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a6430008\
    00142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_V6: &str = "\
    010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3\
    f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
const LONG_TERM: &str = "\
    000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f\
    2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f6702465\
    6dd64a3e02b8e0712e85c9a28ca89666";
const LONG_TERM_SHA256: &str = "\
    000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c4\
    6e41407f1704001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473\
    410000000014000b6578616d706c652e6f726700001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f819241362\
    96cb927c43149309278cc6518e65";

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
/// Unaffected by preparation.
const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
/// After preparation.
const PREPARED: &str = "TheMatrIX";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_sample_request_has_a_right_integrity_and_fingerprint() {
    let bytes = bytes(REQUEST);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, method::BINDING));
    assert_eq!(message.attribute(USERNAME), Some(&b"evtj:h6vY"[..]));
    assert!(message.has_fingerprint() && message.fingerprint_is_right());
    assert!(sha1_matches(PASSWORD.as_bytes(), message.sha1().unwrap()));
    assert!(!sha1_matches(b"another", message.sha1().unwrap()));
    // PRIORITY is of ICE: no TURN server understands it.
    assert_eq!(message.not_understood().collect::<Vec<_>>(), [0x0024]);
}

#[test]
fn the_sample_responses_have_right_addresses() {
    for (sample, expected) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = bytes(sample);
        let message = Message::decode(&bytes).unwrap();
        let mapped = message.attribute(XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(read_xor_address(mapped, message.transaction()), Some(expected.parse::<SocketAddr>().unwrap()));
        assert!(message.fingerprint_is_right());
        assert!(sha1_matches(PASSWORD.as_bytes(), message.sha1().unwrap()));
    }
}

#[test]
fn the_sample_with_long_term_credentials_has_a_right_integrity() {
    let bytes = bytes(LONG_TERM);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.attribute(USERNAME), Some(USER.as_bytes()));
    assert_eq!(message.attribute(NONCE), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
    assert_eq!(message.attribute(REALM), Some(&b"example.org"[..]));
    let key = Key::new(PasswordAlgorithm::Md5, USER, "example.org", PREPARED);
    assert!(sha1_matches(key.as_bytes(), message.sha1().unwrap()));
}

#[test]
fn the_sample_with_userhash_and_sha256_has_a_right_integrity() {
    let bytes = bytes(LONG_TERM_SHA256);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.attribute(USERHASH), Some(&userhash(USER, "example.org")[..]));
    let key = Key::new(PasswordAlgorithm::Sha256, USER, "example.org", PREPARED);
    assert!(sha256_matches(key.as_bytes(), message.sha256().unwrap()));
}

#[test]
fn a_changed_bit_anywhere_in_a_sample_is_noticed() {
    let sample = bytes(REQUEST);
    for bit in 0..sample.len() * 8 {
        let mut changed = sample.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let noticed =
            Message::decode(&changed).is_ok_and(|message| message.fingerprint_is_right() && message.has_fingerprint());
        assert!(!noticed, "bit {bit}");
    }
}

#[test]
fn the_key_of_the_example_in_rfc_8489_section_9_2_2_is_right() {
    let key = Key::new(PasswordAlgorithm::Md5, "user", "realm", "pass");
    assert_eq!(key.as_bytes(), bytes("8493fbc53ba582fb4c044c456bdc40eb"));
    assert_eq!(format!("{key:?}"), "Key(..)");
}
