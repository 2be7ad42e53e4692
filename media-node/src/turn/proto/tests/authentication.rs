//! RFC 8489 section 9.2, the REST credentials draft, RFC 8656 section 5.

use std::time::Duration;

use crate::turn::proto::attribute::{
    LIFETIME, MESSAGE_INTEGRITY_SHA256, NONCE, PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS, REALM, UNKNOWN_ATTRIBUTES,
    USERNAME,
};
use crate::turn::proto::config::Realm;
use crate::turn::proto::counters::{Drop, Method, Outcome};
use crate::turn::proto::credentials::{PasswordAlgorithm, Secret, Secrets};
use crate::turn::proto::message::{Class, method};
use crate::turn::proto::test_support::{Client, Heard, Style, World};

#[test]
fn a_request_without_credentials_is_challenged_with_realm_nonce_and_algorithms() {
    let mut world = World::new();
    let mut client = world.stranger("ann");
    let draft = client.allocate();
    let answer = world.hear(&client.path, &draft.bare()).reply();
    assert_eq!(answer.code(), 401);
    assert_eq!(answer.value(REALM).unwrap(), b"turn.example.org");
    assert_eq!(answer.value(PASSWORD_ALGORITHMS).unwrap(), PasswordAlgorithm::OFFERED);
    assert!(
        answer.value(NONCE).unwrap().starts_with(b"obMatJos2gAAA"),
        "cookie, and the bit of password algorithms alone"
    );
    assert!(!answer.is_signed());
    assert_eq!(world.held(), [0; 8], "no state for who is not authenticated");
    assert_eq!(world.shared.totals().requests(Method::Allocate, Outcome::Unauthenticated), 1);
}

#[test]
fn every_style_of_credentials_is_accepted_and_answered_in_kind() {
    for style in [Style::Legacy, Style::Md5, Style::Sha256] {
        let mut world = World::new();
        let mut client = Client { style, ..world.client("ann") };
        let draft = client.allocate();
        let answer = world.ask(&client, draft);
        assert_eq!(answer.code(), 0, "{style:?}");
        assert!(answer.is_signed_for(&client), "{style:?}");
    }
}

#[test]
fn every_username_form_of_the_draft_is_accepted_and_no_other() {
    for (case, username, expected) in [
        ("expiry and user", "1800000600:ann", 0),
        ("expiry alone", "1800000600", 0),
        ("a colon in the user", "1800000600:ann:phone", 0),
        ("an empty user", "1800000600:", 0),
        ("no expiry", "ann", 401),
        ("a sign", "+1800000600:ann", 401),
        ("nothing before the colon", ":ann", 401),
        ("more than 64 bits", "99999999999999999999:ann", 401),
        ("expired this second", "1800000000:ann", 401),
        ("expired", "1799999999:ann", 401),
        ("the longest that is allowed", "1800086400:ann", 0),
        ("good for longer than allowed", "1800086401:ann", 401),
    ] {
        let mut world = World::new();
        let mut client = world.client("ann");
        client.username = username.to_owned();
        client.password = World::password(username);
        let draft = client.allocate();
        assert_eq!(world.ask(&client, draft).code(), expected, "{case}");
    }
}

#[test]
fn a_username_that_is_too_long_or_not_utf8_is_not_valid() {
    let mut world = World::new();
    let mut client = world.client("ann");
    for name in [[b"1800000600:".as_slice(), &[b'a'; 498]].concat(), b"1800000600:\xFF".to_vec()] {
        let draft = client.allocate().with(USERNAME, &name).with(REALM, b"x").with(NONCE, &client.nonce);
        let bytes = draft.finish(|writer| {
            writer.sha1(b"key");
        });
        assert_eq!(world.hear(&client.path, &bytes).code(), 401);
    }
}

#[test]
fn a_wrong_password_is_401_with_a_fresh_challenge() {
    let mut world = World::new();
    let mut client = Client { password: "wrong".into(), ..world.client("ann") };
    let draft = client.allocate();
    let answer = world.ask(&client, draft);
    assert_eq!(answer.code(), 401);
    assert!(answer.has(NONCE) && answer.has(REALM) && answer.has(PASSWORD_ALGORITHMS) && !answer.is_signed());
}

#[test]
fn both_secrets_are_accepted_during_a_rotation_and_the_old_one_never_after() {
    let mut world = World::new();
    let new = || Secret::new(b"the next secret").unwrap();
    let old = Secret::new(b"the secret in force").unwrap();
    let mut before = world.client("ann");
    world.shared.set_secrets(Secrets { current: new(), previous: Some(old) });
    let mut after = world.client("bob");
    after.password = new().password(&after.username);
    for client in [&mut before, &mut after] {
        let draft = client.allocate();
        assert_eq!(world.ask(client, draft).code(), 0);
    }
    world.shared.set_secrets(Secrets { current: new(), previous: None });
    let mut late = world.client("ann");
    let draft = late.allocate();
    assert_eq!(world.ask(&late, draft).code(), 401);
    let draft = before.request(method::REFRESH);
    assert_eq!(world.ask(&before, draft).code(), 0, "a live allocation keeps its key");
}

#[test]
fn an_allocation_outlives_its_username_and_can_be_refreshed() {
    let mut world = World::with(|config| config.lifetimes.nonce = Duration::from_secs(1_000_000));
    let mut client = world.client("ann");
    let draft = client.allocate().number(LIFETIME, 3600);
    assert_eq!(world.ask(&client, draft).lifetime(), Some(3600));
    world.pass(Duration::from_secs(3599));
    let draft = client.request(method::REFRESH);
    assert_eq!(world.ask(&client, draft).code(), 0);
    world.pass(Duration::from_secs(10));
    let draft = client.request(method::REFRESH);
    assert_eq!(world.ask(&client, draft).code(), 0, "the username has expired by now");
    let mut other = Client { path: world.stranger("ann").path, ..client };
    world.challenge(&mut other);
    let draft = other.allocate();
    assert_eq!(world.ask(&other, draft).code(), 401, "but it makes no other allocation");
}

#[test]
fn a_nonce_serves_one_address_for_a_bounded_time() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let other = Client { nonce: client.nonce.clone(), realm: client.realm.clone(), ..world.stranger("bob") };
    let mut other = other;
    let draft = other.allocate();
    let answer = world.ask(&other, draft);
    assert_eq!(answer.code(), 438, "another client's nonce");
    assert!(answer.has(NONCE) && answer.has(REALM) && answer.has(PASSWORD_ALGORITHMS));

    world.pass(Duration::from_secs(599));
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
    world.pass(Duration::from_secs(1));
    let draft = client.request(method::REFRESH);
    let stale = world.ask(&client, draft);
    assert_eq!(stale.code(), 438);
    client.learn(&stale);
    let draft = client.request(method::REFRESH);
    assert_eq!(world.ask(&client, draft).code(), 0, "with the nonce that came with the 438");
}

#[test]
fn a_nonce_is_good_on_every_shard_of_the_process() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate();
    let bytes = client.sign(draft);
    let other = 1 - World::shard_of(&client.path);
    let (server, relays) = &mut world.shards[other];
    let reaction = server.handle_client(world.now, relays, client.path, &bytes);
    assert!(matches!(reaction, crate::turn::proto::Reaction::Reply(reply) if reply[0] == 1 && reply[1] == 3));
}

#[test]
fn who_strips_the_security_features_from_a_nonce_makes_it_stale() {
    let mut world = World::new();
    let mut client = world.client("ann");
    for nonce in [
        [b"obMatJos2AAAA", &client.nonce[13..]].concat(),
        client.nonce[13..].to_vec(),
        client.nonce[..client.nonce.len() - 1].to_vec(),
        [&client.nonce[..], b"A"].concat(),
        b"obMatJos2".to_vec(),
        vec![],
        vec![0xFF; 200],
    ] {
        let mut bidden = Client { nonce, ..client.clone() };
        let draft = bidden.allocate();
        assert_eq!(world.ask(&bidden, draft).code(), 438);
    }
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
}

#[test]
fn integrity_without_the_rest_is_a_bad_request() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let (name, nonce) = (client.username.clone(), client.nonce.clone());
    let all = [(USERNAME, name.as_bytes()), (REALM, b"turn.example.org"), (NONCE, &nonce)];
    for left_out in 0..3 {
        let mut draft = client.allocate();
        for (_, (kind, value)) in all.iter().enumerate().filter(|(n, _)| *n != left_out) {
            draft = draft.with(*kind, value);
        }
        let answer = world
            .hear(
                &client.path,
                &draft.finish(|writer| {
                    writer.sha1(b"key");
                }),
            )
            .reply();
        assert_eq!((answer.code(), answer.has(REALM), answer.has(NONCE)), (400, false, false));
    }
}

#[test]
fn one_of_password_algorithm_and_algorithms_without_the_other_is_a_bad_request() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let swapped = [0, 1, 0, 0, 0, 2, 0, 0];
    for (case, attributes) in [
        ("no list", vec![(PASSWORD_ALGORITHM, &[0, 2, 0, 0][..])]),
        ("no choice", vec![(PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFERED[..])]),
        ("another list", vec![(PASSWORD_ALGORITHM, &[0, 2, 0, 0]), (PASSWORD_ALGORITHMS, &swapped)]),
        (
            "a choice that is not on the list",
            vec![(PASSWORD_ALGORITHM, &[0, 3, 0, 0]), (PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFERED)],
        ),
    ] {
        let mut draft = client.allocate();
        for (kind, value) in attributes {
            draft = draft.with(kind, value);
        }
        assert_eq!(world.ask(&client, draft).code(), 400, "{case}");
    }
}

#[test]
fn sha256_may_be_truncated_to_sixteen_bytes_and_not_below() {
    for (len, expected) in [(32, Some(0)), (28, Some(0)), (16, Some(0)), (12, None), (18, None), (36, None)] {
        let mut world = World::new();
        let mut client = Client { style: Style::Sha256, ..world.client("ann") };
        let key = client.key();
        let draft = client
            .allocate()
            .with(USERNAME, client.username.clone().as_bytes())
            .with(REALM, b"turn.example.org")
            .with(NONCE, &client.nonce.clone())
            .with(PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFERED)
            .with(PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
        let mut value = vec![0; len];
        // The length that goes into the hash is that of the truncated attribute.
        let unsigned = draft.clone().bare();
        let full = {
            use hmac::Mac;
            let mut covered = unsigned.clone();
            let length = u16::try_from(unsigned.len() - 20 + 4 + len).unwrap();
            covered[2..4].copy_from_slice(&length.to_be_bytes());
            hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(&covered).finalize()
        };
        let full = full.into_bytes();
        let shown = len.min(32);
        value[..shown].copy_from_slice(&full[..shown]);
        let heard = world.hear(&client.path, &draft.with(MESSAGE_INTEGRITY_SHA256, &value).bare());
        let code = match heard {
            Heard::Reply(answer) => Some(answer.code()),
            _ => None,
        };
        assert_eq!(code, expected, "{len} bytes");
    }
}

#[test]
fn a_client_that_sends_both_integrities_is_judged_by_the_stronger() {
    for (case, sha1, sha256, expected) in
        [("both right", true, true, 0), ("the stronger wrong", true, false, 401), ("the weaker wrong", false, true, 0)]
    {
        let mut world = World::new();
        let mut client = world.client("ann");
        let (key, nonce, name) = (client.key(), client.nonce.clone(), client.username.clone());
        let draft = client.allocate().with(USERNAME, name.as_bytes());
        let draft = draft.with(REALM, b"turn.example.org").with(NONCE, &nonce);
        let bytes = draft.finish(|writer| {
            writer.sha1(if sha1 { key.as_bytes() } else { b"wrong" });
            writer.sha256(if sha256 { key.as_bytes() } else { b"wrong" });
        });
        assert_eq!(world.hear(&client.path, &bytes).code(), expected, "{case}");
    }
}

#[test]
fn a_userhash_is_served_once_the_name_was_seen_and_refused_before() {
    let mut world = World::new();
    let mut client = Client { style: Style::Sha256, ..world.client("ann") };
    let draft = client.allocate();
    let hashed = client.sign_hashed(draft);
    assert_eq!(world.hear(&client.path, &hashed).code(), 401, "nobody can invert a hash");
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
    let draft = client.request(method::REFRESH);
    let hashed = client.sign_hashed(draft);
    let answer = world.hear(&client.path, &hashed).reply();
    assert_eq!(answer.code(), 0, "the allocation's own user");
    assert!(answer.is_signed_for(&client));
    let mut again = Client { path: world.stranger("ann").path, ..client };
    world.challenge(&mut again);
    let draft = again.allocate();
    let hashed = again.sign_hashed(draft);
    assert_eq!(world.hear(&again.path, &hashed).code(), 0, "a name seen in clear before");
}

#[test]
fn another_user_of_the_same_address_has_wrong_credentials() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    client.username = world.username("bob");
    client.password = World::password(&client.username);
    for number in [method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
        let draft = client.request(number).peer(super::peer());
        let answer = world.ask(&client, draft);
        assert_eq!(answer.code(), 441);
        assert!(answer.is_signed_for(&client));
    }
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 437, "an Allocate");
}

#[test]
fn what_needs_an_allocation_is_437_without_one() {
    let mut world = World::new();
    let mut client = world.client("ann");
    for number in [method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
        let draft = client.request(number).peer(super::peer());
        let answer = world.ask(&client, draft);
        assert_eq!((answer.code(), answer.is_signed_for(&client)), (437, true));
    }
}

#[test]
fn attributes_that_must_be_understood_and_are_not_are_named() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(0x7001, b"x").with(0x9001, b"optional").with(0x0024, b"");
    let answer = world.ask(&client, draft);
    assert_eq!((answer.code(), answer.value(UNKNOWN_ATTRIBUTES).unwrap()), (420, vec![0x70, 0x01, 0x00, 0x24]));
    let draft = client.request(method::BINDING).with(0x7001, b"");
    let answer = world.hear(&client.path, &draft.bare()).reply();
    assert_eq!((answer.code(), answer.value(UNKNOWN_ATTRIBUTES).unwrap()), (420, vec![0x70, 0x01]));
}

#[test]
fn attributes_behind_integrity_are_not_obeyed() {
    for style in [Style::Legacy, Style::Sha256] {
        let mut world = World::new();
        let mut client = Client { style, ..world.client("ann") };
        let draft = client.allocate();
        assert_eq!(world.ask(&client, draft).code(), 0);
        let draft = client.request(method::REFRESH);
        let mut bytes = client.sign(draft);
        // What anybody on the way can do: append LIFETIME 0, and an unknown attribute.
        bytes.extend_from_slice(&[0, 0x0D, 0, 4, 0, 0, 0, 0, 0x70, 0x01, 0, 0]);
        let length = u16::try_from(bytes.len() - 20).unwrap();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let answer = world.hear(&client.path, &bytes).reply();
        assert_eq!((answer.code(), answer.lifetime()), (0, Some(600)), "{style:?}");
        assert_eq!(world.held()[0], 1);
    }
}

#[test]
fn a_fingerprint_is_answered_with_one_and_a_wrong_one_with_silence() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.request(method::BINDING).fingerprint();
    let mut bytes = draft.bare();
    let answer = world.hear(&client.path, &bytes).reply();
    assert!(answer.has_right_fingerprint());
    assert_eq!(answer.mapped(), Some(client.path.remote));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing);
    assert_eq!(world.shared.totals().dropped(Drop::Fingerprint), 1);
    let draft = client.allocate().fingerprint();
    let answer = world.ask(&client, draft);
    assert!(answer.is_signed_for(&client) && answer.has_right_fingerprint());
}

#[test]
fn indications_answers_and_unknown_methods_get_no_answer() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    for class in [Class::Indication, Class::Success, Class::Error] {
        for number in [method::BINDING, method::ALLOCATE, method::REFRESH, method::DATA, 0x0FF] {
            let draft = client.draft(class, number);
            let bytes = client.sign(draft);
            assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing, "{class:?} {number:#x}");
        }
    }
    for number in [method::SEND, method::DATA, 0x002, 0xFFF] {
        let draft = client.request(number);
        assert_eq!(world.hear(&client.path, &draft.bare()), Heard::Nothing, "request {number:#x}");
    }
}

#[test]
fn a_challenge_to_the_smallest_request_stays_under_three_times_its_size_with_any_realm() {
    for len in 1..=Realm::MAX {
        let mut world = World::with(|config| config.realm = Realm::parse(&"r".repeat(len)).unwrap());
        let mut client = world.stranger("ann");
        let bare = client.request(method::ALLOCATE).bare();
        assert_eq!(bare.len(), 20);
        match world.hear(&client.path, &bare) {
            Heard::Reply(answer) => {
                assert!(answer.0.len() + 28 <= 3 * 48, "realm of {len}: {answer:?}");
                assert_eq!(answer.has(PASSWORD_ALGORITHMS), len <= 36, "realm of {len}");
                let cookie = answer.value(NONCE).unwrap().starts_with(b"obMatJos2");
                assert_eq!(cookie, len <= 36, "cookie and algorithms go together: realm of {len}");
            }
            Heard::Nothing => panic!("realm of {len}: no answer"),
            Heard::AtPeer { .. } => unreachable!(),
        }
        // What every real client sends first.
        let draft = client.allocate();
        let answer = world.hear(&client.path, &draft.bare()).reply();
        assert_eq!(answer.has(PASSWORD_ALGORITHMS), len <= 60, "realm of {len}");
    }
}

#[test]
fn a_challenge_without_algorithms_can_be_met_too() {
    let mut world = World::with(|config| config.realm = Realm::parse(&"r".repeat(60)).unwrap());
    let mut client = world.stranger("ann");
    let bare = client.request(method::ALLOCATE).bare();
    let answer = world.hear(&client.path, &bare).reply();
    client.learn(&answer);
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
}

#[test]
fn secrets_and_keys_show_nothing_in_debug_output() {
    let mut world = World::new();
    let (client, _) = world.allocated("ann");
    let shown = format!("{world:?}");
    for hidden in ["the secret in force", &client.password, &format!("{:?}", client.key().as_bytes()), "[7, 7, 7, 7"] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    assert!(!shown.contains(&format!("{:?}", b"the secret in force")));
}

#[test]
fn a_signed_binding_request_is_answered_as_an_unsigned_one() {
    let mut world = World::new();
    let mut client = world.stranger("ann");
    let draft = client.request(method::BINDING).with(USERNAME, b"who:ever");
    let bytes = draft.finish(|writer| {
        writer.sha1(b"ice");
    });
    let answer = world.hear(&client.path, &bytes).reply();
    assert_eq!((answer.code(), answer.mapped(), answer.is_signed()), (0, Some(client.path.remote), false));
}
