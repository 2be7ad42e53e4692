//! What an attacker with a forged source gets a victim sent, for what it sends itself: bytes on the wire, IP and UDP
//! headers counted. `cargo test -p media-node reflecting -- --nocapture` prints the table.

use crate::turn::proto::attribute::{CHANNEL_NUMBER, LIFETIME, USERNAME};
use crate::turn::proto::config::Realm;
use crate::turn::proto::message::{Class, method};
use crate::turn::proto::test_support::{Client, Draft, Heard, Style, World};

/// Optional, and of no meaning to a server.
const SOFTWARE: u16 = 0x8022;

/// One kind of datagram, made by somebody whose address nobody knows.
type Make = fn(&mut Client) -> Vec<u8>;

fn wrong(client: &Client, draft: Draft) -> Vec<u8> {
    Client { password: "wrong".into(), realm: "r".into(), ..client.clone() }.sign(draft)
}

const KINDS: [(&str, Make); 20] = [
    ("Binding", |c| c.request(method::BINDING).bare()),
    ("Binding with FINGERPRINT", |c| c.request(method::BINDING).fingerprint().bare()),
    ("Binding with an unknown attribute", |c| c.request(method::BINDING).with(0x7001, b"").bare()),
    ("Binding with 50 unknown attributes", |c| {
        (0..50).fold(c.request(method::BINDING), |draft, n| draft.with(0x7001 + n, b"")).bare()
    }),
    ("Allocate, the smallest", |c| c.request(method::ALLOCATE).bare()),
    ("Allocate as clients begin", |c| c.allocate().bare()),
    ("Allocate with SOFTWARE, FINGERPRINT", |c| c.allocate().with(SOFTWARE, b"some client").fingerprint().bare()),
    ("Refresh", |c| c.request(method::REFRESH).bare()),
    ("Refresh that deletes", |c| c.request(method::REFRESH).number(LIFETIME, 0).bare()),
    ("CreatePermission", |c| c.request(method::CREATE_PERMISSION).bare()),
    ("ChannelBind", |c| c.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).bare()),
    ("Allocate with integrity alone (400)", |c| {
        c.allocate().finish(|writer| {
            writer.sha1(b"key");
        })
    }),
    ("Allocate, wrong password, no nonce", |c| {
        let draft = c.allocate();
        wrong(c, draft)
    }),
    ("Allocate, wrong password, a forged nonce", |c| {
        let draft = c.allocate();
        wrong(&Client { nonce: b"obMatJos2gAAAAAAAAAAAAAAAAAAA".to_vec(), ..c.clone() }, draft)
    }),
    ("Allocate, right password, a forged nonce", |c| {
        let draft = c.allocate();
        Client { realm: "turn.example.org".into(), nonce: vec![b'A'; 16], ..c.clone() }.sign(draft)
    }),
    ("Allocate with USERHASH", |c| {
        let draft = c.allocate();
        Client { style: Style::Sha256, realm: "turn.example.org".into(), ..c.clone() }.sign_hashed(draft)
    }),
    ("Send indication", |c| c.send("192.0.2.9:4000".parse().unwrap(), b"data")),
    ("channel data", |_| b"\x40\x00\x00\x04data".to_vec()),
    ("an answer", |c| c.draft(Class::Success, method::BINDING).with(USERNAME, b"x").bare()),
    ("a method that is none", |c| c.request(0x0FF).bare()),
];

/// Datagrams that are answered, with the bytes of request and answer.
fn table(realm: &str, remote: &str) -> Vec<(&'static str, usize, usize)> {
    let headers = if remote.starts_with('[') { 48 } else { 28 };
    let rows = KINDS.iter().map(|(kind, make)| {
        // A world of its own each, so that nothing is known of anybody.
        let mut world = World::with(|config| config.realm = Realm::parse(realm).unwrap());
        let mut client = world.stranger("ann");
        client.path.remote = remote.parse().unwrap();
        let request = make(&mut client);
        let answer = match world.hear(&client.path, &request) {
            Heard::Nothing => 0,
            Heard::Reply(answer) => headers + answer.0.len(),
            Heard::AtPeer { to, .. } => panic!("{kind}: data for {to}"),
        };
        assert_eq!(world.held(), [0; 8], "{kind} leaves something behind");
        (*kind, headers + request.len(), answer)
    });
    rows.collect()
}

#[test]
fn nobody_unknown_is_sent_more_than_three_times_what_came_whatever_came() {
    let longest = "r".repeat(Realm::MAX);
    for (realm, remote) in [
        ("turn.example.org", "198.51.100.7:40000"),
        ("turn.example.org", "[2001:db8:1::7]:40000"),
        (&longest, "198.51.100.7:40000"),
        (&longest, "[2001:db8:1::7]:40000"),
    ] {
        println!("\nrealm of {} bytes, from {remote}\n{:<42} request  answer  ratio", realm.len(), "");
        for (kind, request, answer) in table(realm, remote) {
            println!("{kind:<42} {request:>7} {answer:>7} {:>3}.{:02}", answer / request, answer * 100 / request % 100);
            assert!(answer <= 3 * request, "{kind}: {answer} bytes for {request}");
        }
    }
}

#[test]
fn what_is_answered_is_a_request_and_nothing_else() {
    let answered = |table: &[(&str, usize, usize)]| table.iter().filter(|(_, _, answer)| *answer > 0).count();
    let table = table("turn.example.org", "198.51.100.7:40000");
    assert_eq!(answered(&table), 16);
    assert!(table[16..].iter().all(|(_, _, answer)| *answer == 0), "{:?}", &table[16..]);
}
