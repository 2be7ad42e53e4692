//! RFC 8016. Remote port numbers choose the shard: odd ones and even ones, as in `World`.

use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng as _;

use crate::turn::proto::PeerPolicy;
use crate::turn::proto::attribute::{
    ADDITIONAL_ADDRESS_FAMILY, CHANNEL_NUMBER, LIFETIME, MOBILITY_TICKET, REQUESTED_ADDRESS_FAMILY,
};
use crate::turn::proto::counters::{Drop, Method, Move, Outcome};
use crate::turn::proto::message::method;
use crate::turn::proto::mobility::Serial;
use crate::turn::proto::post::Letter;
use crate::turn::proto::server::{ClientPath, ShardIndex, Transport};
use crate::turn::proto::test_support::{Answer, Client, Heard, Style, World};

/// A client with a mobile allocation, a permission and a channel (0x4000) for `peer`.
pub(super) struct Phone {
    pub(super) client: Client,
    pub(super) relayed: SocketAddr,
    pub(super) ticket: Vec<u8>,
}

impl Phone {
    pub(super) fn new(world: &mut World) -> Self {
        let client = world.client("ann");
        Self::of(world, client)
    }

    fn of(world: &mut World, mut client: Client) -> Self {
        let draft = client.allocate().with(MOBILITY_TICKET, &[]);
        let answer = world.ask(&client, draft);
        assert_eq!(answer.code(), 0);
        let ticket = answer.value(MOBILITY_TICKET).expect("a ticket");
        let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(super::peer());
        assert_eq!(world.ask(&client, draft).code(), 0);
        Self { client, relayed: answer.relayed()[0], ticket }
    }

    /// The same client on another address: on the same shard, or on the other one.
    fn elsewhere(&self, world: &mut World, same_shard: bool) -> Client {
        let mut client = Client { path: world.stranger("ann").path, ..self.client.clone() };
        let even = 10_000 + 2 * client.path.remote.port();
        client.path.remote.set_port(even);
        let same = World::shard_of(&client.path) == World::shard_of(&self.client.path);
        client.path.remote.set_port(even + u16::from(same != same_shard));
        world.challenge(&mut client);
        client
    }

    fn refresh(&self, client: &mut Client) -> Vec<u8> {
        let draft = client.request(method::REFRESH).number(LIFETIME, 600).with(MOBILITY_TICKET, &self.ticket);
        client.sign(draft)
    }

    /// Refresh with the ticket from there, without sending anything else.
    #[track_caller]
    fn announce(&mut self, world: &mut World, client: &mut Client) -> Answer {
        let bytes = self.refresh(client);
        let answer = world.hear_all(&client.path, &bytes).reply();
        assert_eq!(answer.code(), 0);
        let ticket = answer.value(MOBILITY_TICKET).expect("another ticket");
        assert_ne!(ticket, self.ticket);
        self.ticket = ticket;
        answer
    }
}

fn channel_data(payload: &[u8]) -> Vec<u8> {
    [&[0x40, 0, 0, u8::try_from(payload.len()).unwrap()], payload].concat()
}

/// Where data of the peer goes.
fn hears(world: &mut World, phone: &Phone) -> Option<ClientPath> {
    world.peer_sends(phone.relayed, super::peer(), b"from a peer").map(|(path, _)| path)
}

#[track_caller]
fn assert_sends(world: &mut World, client: &Client, phone: &Phone) {
    let heard = world.hear_all(&client.path, &channel_data(b"hello"));
    let Heard::AtPeer { from, to, payload, .. } = heard else { panic!("{heard:?}") };
    assert_eq!((from, to, &payload[..]), (phone.relayed, super::peer(), &b"hello"[..]));
}

fn moves(world: &World) -> (u64, u64) {
    let totals = world.shared.totals();
    (totals.moves(Move::Within), totals.moves(Move::Between))
}

#[test]
fn who_does_not_ask_for_mobility_gets_no_ticket() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate();
    assert!(!world.ask(&client, draft).has(MOBILITY_TICKET));
    assert_eq!(world.shared.mobile_allocations(), 0);
}

#[test]
fn a_retransmitted_allocate_is_answered_with_the_same_ticket() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(MOBILITY_TICKET, &[]);
    let bytes = client.sign(draft);
    let first = world.hear(&client.path, &bytes).reply();
    assert_eq!(first.value(MOBILITY_TICKET).map(|ticket| ticket.len()), Some(32));
    assert_eq!(world.hear(&client.path, &bytes).reply(), first);
}

#[test]
fn an_allocate_with_a_ticket_in_it_is_400() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(MOBILITY_TICKET, b"a ticket");
    assert_eq!(world.ask(&client, draft).code(), 400);
}

#[test]
fn a_server_without_mobility_answers_405_and_makes_no_allocation() {
    let mut world = World::with(|config| config.mobility = false);
    let mut client = world.client("ann");
    let draft = client.allocate().with(MOBILITY_TICKET, &[]);
    assert_eq!(world.ask(&client, draft).code(), 405);
    assert_eq!(world.held(), [0; 8]);
    let draft = client.request(method::REFRESH).with(MOBILITY_TICKET, &[b'A'; 32]);
    assert_eq!(world.ask(&client, draft).code(), 405);
    let totals = world.shared.totals();
    assert_eq!(totals.requests(Method::Allocate, Outcome::MobilityForbidden), 1);
}

#[test]
fn a_client_that_moves_keeps_its_relayed_address_its_permissions_and_its_channels() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let before = world.held();
        let mut client = phone.elsewhere(&mut world, same_shard);
        let answer = phone.announce(&mut world, &mut client);
        assert_eq!(answer.lifetime(), Some(600));
        assert!(answer.is_signed_for(&client));
        assert_sends(&mut world, &client, &phone);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
        let bytes = client.send(super::peer(), b"by the permission");
        assert!(matches!(world.hear_all(&client.path, &bytes), Heard::AtPeer { .. }));
        assert_eq!(world.held()[..7], before[..7]);
        assert_eq!(moves(&world), if same_shard { (1, 0) } else { (0, 1) });
        let draft = client.request(method::REFRESH).number(LIFETIME, 0);
        assert_eq!(world.ask(&client, draft).code(), 0);
        assert_eq!(world.held(), [0; 8]);
        assert_eq!(world.shared.mobile_allocations(), 0);
    }
}

#[test]
fn until_the_client_is_heard_on_its_new_path_everything_goes_on_by_the_old_one() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let old = phone.client.clone();
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        assert_eq!(hears(&mut world, &phone), Some(old.path));
        assert_sends(&mut world, &old, &phone);
        assert_eq!(hears(&mut world, &phone), Some(old.path), "data on the old path changes nothing");
        assert_sends(&mut world, &client, &phone);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
        assert_eq!(world.hear_all(&old.path, &channel_data(b"late")), Heard::Nothing);
        let mut old = old;
        let draft = old.request(method::REFRESH);
        assert_eq!(world.ask(&old, draft).code(), 437, "the old 5-tuple has no allocation any more");
    }
}

#[test]
fn an_allocation_that_moves_takes_nothing_along_to_a_peer_that_was_denied_meanwhile() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut next = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut next);
    let mut terms = (*world.shared.terms()).clone();
    terms.peers = PeerPolicy::new(vec![], vec!["192.0.2.0/24".parse().unwrap()]);
    world.shared.set_terms(terms);
    assert_eq!(world.hear_all(&next.path, &channel_data(b"hello")), Heard::Nothing);
    assert_eq!((moves(&world), hears(&mut world, &phone)), ((0, 1), None));
}

#[test]
fn a_request_on_the_new_path_is_as_good_as_data() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        let draft = client.request(method::CREATE_PERMISSION).peer(super::peer());
        let bytes = client.sign(draft);
        assert_eq!(world.hear_all(&client.path, &bytes).code(), 0);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
    }
}

#[test]
fn a_client_moves_to_and_fro_any_number_of_times() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    for round in 0..20 {
        let mut client = phone.elsewhere(&mut world, round % 3 == 0);
        phone.announce(&mut world, &mut client);
        assert_sends(&mut world, &client, &phone);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
        phone.client = client;
    }
    assert_eq!(moves(&world), (7, 13));
    assert_eq!(world.held()[..4], [1, 1, 1, 1]);
}

#[test]
fn both_addresses_of_a_dual_allocation_move() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]).with(MOBILITY_TICKET, &[]);
    let answer = world.ask(&client, draft);
    let phone = Phone { client, relayed: answer.relayed()[0], ticket: answer.value(MOBILITY_TICKET).unwrap() };
    let mut moved = phone.elsewhere(&mut world, false);
    let draft = moved
        .request(method::REFRESH)
        .number(LIFETIME, 1200)
        .with(REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])
        .with(MOBILITY_TICKET, &phone.ticket);
    let bytes = moved.sign(draft);
    assert_eq!(world.hear_all(&moved.path, &bytes).code(), 0);
    let draft = moved.request(method::CREATE_PERMISSION).peer(super::peer()).peer(super::peer_v6());
    let bytes = moved.sign(draft);
    assert_eq!(world.hear_all(&moved.path, &bytes).code(), 0);
    let bytes = moved.send(super::peer_v6(), b"x");
    assert!(matches!(world.hear_all(&moved.path, &bytes), Heard::AtPeer { .. }));
    world.pass(Duration::from_mins(10));
    assert!(world.open().iter().all(SocketAddr::is_ipv6) && world.open().len() == 1, "each with its own expiry");
    world.pass(Duration::from_mins(10));
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn a_retransmitted_refresh_is_answered_alike_before_and_after_the_client_is_heard() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        let bytes = phone.refresh(&mut client);
        let first = phone_answer(&mut world, &client, &bytes);
        assert_eq!(phone_answer(&mut world, &client, &bytes), first);
        assert_eq!(hears(&mut world, &phone), Some(phone.client.path), "a retransmission is no sign of the answer");
        assert_sends(&mut world, &client, &phone);
        assert_eq!(phone_answer(&mut world, &client, &bytes), first);
        world.pass(Duration::from_secs(39));
        assert_eq!(phone_answer(&mut world, &client, &bytes), first);
        phone.ticket = first.value(MOBILITY_TICKET).unwrap();
        world.pass(Duration::from_secs(41));
        // That was a Refresh, and nothing was forgotten by it; this one is too late.
        assert_eq!(phone_answer(&mut world, &client, &bytes).code(), 400);
    }
}

fn phone_answer(world: &mut World, client: &Client, bytes: &[u8]) -> Answer {
    world.hear_all(&client.path, bytes).reply()
}

#[test]
fn a_client_whose_answer_was_lost_can_move_on_with_the_ticket_that_it_has() {
    for (first, second) in [(true, false), (false, true), (false, false), (true, true)] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut lost = phone.elsewhere(&mut world, first);
        let bytes = phone.refresh(&mut lost);
        assert_eq!(phone_answer(&mut world, &lost, &bytes).code(), 0);
        let mut client = phone.elsewhere(&mut world, second);
        phone.announce(&mut world, &mut client);
        assert_eq!(world.hear_all(&lost.path, &channel_data(b"x")), Heard::Nothing, "not expected there any more");
        assert_sends(&mut world, &client, &phone);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
    }
}

#[test]
fn an_old_ticket_is_worth_nothing_once_the_client_was_heard() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let old = phone.ticket.clone();
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        assert_sends(&mut world, &client, &phone);
        let mut third = phone.elsewhere(&mut world, true);
        let draft = third.request(method::REFRESH).with(MOBILITY_TICKET, &old);
        let bytes = third.sign(draft);
        assert_eq!(world.hear_all(&third.path, &bytes).code(), 400);
        assert_eq!(hears(&mut world, &phone), Some(client.path));
    }
}

#[test]
fn a_client_that_has_not_moved_is_told_so() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let bytes = phone.refresh(&mut phone.client.clone());
    let path = phone.client.path;
    assert_eq!(world.hear_all(&path, &bytes).code(), 400);
    let mut client = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut client);
    assert_sends(&mut world, &client, &phone);
    let bytes = phone.refresh(&mut client);
    assert_eq!(world.hear_all(&client.path, &bytes).code(), 400);
    let draft = client.request(method::REFRESH);
    assert_eq!(world.ask(&client, draft).code(), 0, "without a ticket");
}

#[test]
fn a_ticket_without_the_credentials_of_the_allocation_moves_nothing() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let phone = Phone::new(&mut world);
        let right = phone.elsewhere(&mut world, same_shard);
        let eve = world.username("eve");
        let strangers = [
            (Client { password: "wrong".into(), ..right.clone() }, 401),
            (Client { password: World::password(&eve), username: eve, ..right.clone() }, 441),
            (Client { nonce: phone.client.nonce.clone(), ..right.clone() }, 438),
        ];
        for (mut client, expected) in strangers {
            let bytes = phone.refresh(&mut client);
            assert_eq!(world.hear_all(&client.path, &bytes).code(), expected);
            assert_eq!(world.hear_all(&client.path, &channel_data(b"x")), Heard::Nothing);
        }
        let mut unsigned = right.clone();
        let bytes = unsigned.request(method::REFRESH).with(MOBILITY_TICKET, &phone.ticket).bare();
        let answer = world.hear_all(&right.path, &bytes).reply();
        assert_eq!(answer.code(), 401);
        assert!(answer.0.len() + 28 <= 3 * (bytes.len() + 28));
        assert_eq!(hears(&mut world, &phone), Some(phone.client.path));
        assert_eq!(moves(&world), (0, 0));
    }
}

#[test]
fn the_credentials_of_a_live_allocation_may_have_expired() {
    let mut world = World::with(|config| config.lifetimes.nonce = Duration::from_hours(2));
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    for _ in 0..7 {
        let draft = phone.client.request(method::REFRESH);
        assert_eq!(world.ask(&phone.client, draft).code(), 0);
        world.pass(Duration::from_mins(9));
    }
    phone.announce(&mut world, &mut client);
}

#[test]
fn forged_and_foreign_tickets_are_400_and_one_of_an_allocation_that_has_ended_is_437() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    for forged in [&b""[..], b"x", &[b'A'; 32], &[0; 32], &phone.ticket[..31]] {
        let draft = client.request(method::REFRESH).with(MOBILITY_TICKET, forged);
        assert_eq!(world.ask(&client, draft).code(), 400, "{forged:?}");
    }
    let draft = phone.client.request(method::REFRESH).number(LIFETIME, 0);
    assert_eq!(world.ask(&phone.client, draft).code(), 0);
    let bytes = phone.refresh(&mut client);
    assert_eq!(world.hear_all(&client.path, &bytes).code(), 437);
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn a_path_with_an_allocation_takes_no_other() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        let draft = client.allocate();
        assert_eq!(world.ask(&client, draft).code(), 0);
        let bytes = phone.refresh(&mut client);
        assert_eq!(world.hear_all(&client.path, &bytes).code(), 437);
        assert_eq!(hears(&mut world, &phone), Some(phone.client.path));
    }
}

#[test]
fn an_allocation_can_be_deleted_from_another_address_and_the_answer_is_repeated() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        let draft = client.request(method::REFRESH).number(LIFETIME, 0).with(MOBILITY_TICKET, &phone.ticket);
        let bytes = client.sign(draft);
        let answer = world.hear_all(&client.path, &bytes).reply();
        assert_eq!((answer.code(), answer.lifetime(), answer.has(MOBILITY_TICKET)), (0, Some(0), false));
        assert_eq!(world.hear_all(&client.path, &bytes).reply(), answer);
        assert_eq!(world.held(), [0; 8]);
    }
}

#[test]
fn every_style_of_authentication_can_move() {
    for style in [Style::Legacy, Style::Md5, Style::Sha256] {
        let mut world = World::new();
        let client = Client { style, ..world.client("ann") };
        let mut phone = Phone::of(&mut world, client);
        let mut client = phone.elsewhere(&mut world, false);
        assert!(phone.announce(&mut world, &mut client).is_signed_for(&client));
    }
}

#[test]
fn an_allocation_that_expires_while_its_client_is_expected_elsewhere_leaves_nothing() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        world.pass(Duration::from_mins(10));
        assert_eq!(world.held(), [0; 8]);
        assert_eq!(world.hear_all(&client.path, &channel_data(b"x")), Heard::Nothing);
    }
}

#[test]
fn what_a_client_sends_while_its_allocation_is_on_its_way_waits_in_order_and_within_bounds() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut client);
    for n in 0..100 {
        assert_eq!(world.hear(&client.path, &channel_data(&[n])), Heard::Nothing);
    }
    let payloads: Vec<u8> = world
        .read_all_mail()
        .into_iter()
        .map(|(_, heard)| match heard {
            Heard::AtPeer { payload, .. } => payload[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(payloads, (0..64).collect::<Vec<u8>>());
    assert_eq!(world.shared.totals().dropped(Drop::HandoverFull), 36);
    assert_sends(&mut world, &client, &phone);
}

#[test]
fn a_lost_question_for_the_allocation_is_asked_again() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    let other = World::shard_of(&phone.client.path);
    phone.announce(&mut world, &mut client);
    // The owner's mailbox is full of questions of somebody else.
    let mut noisy = Phone::new(&mut world);
    while World::shard_of(&noisy.client.path) != other {
        noisy = Phone::new(&mut world);
    }
    let mut somewhere = noisy.elsewhere(&mut world, false);
    let bytes = noisy.refresh(&mut somewhere);
    for _ in 0..256 {
        assert_eq!(world.hear(&somewhere.path, &bytes), Heard::Nothing);
    }
    assert_eq!(world.shared.totals().dropped(Drop::HandoverFull), 0);
    assert_eq!(world.hear(&somewhere.path, &bytes), Heard::Nothing);
    assert_eq!(world.shared.totals().dropped(Drop::HandoverFull), 1);
    assert_eq!(world.hear(&client.path, &channel_data(b"first")), Heard::Nothing);
    world.read_all_mail();
    assert_eq!(hears(&mut world, &phone), Some(phone.client.path), "the question did not fit");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.hear(&client.path, &channel_data(b"second")), Heard::Nothing);
    assert_eq!(world.read_all_mail().len(), 2);
    assert_eq!(hears(&mut world, &phone), Some(client.path));
}

#[test]
fn an_allocation_stays_where_it_is_while_the_mailbox_of_its_next_shard_is_full() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut client);
    let there = World::shard_of(&client.path);
    let mut noisy = Phone::new(&mut world);
    while World::shard_of(&noisy.client.path) != there {
        noisy = Phone::new(&mut world);
    }
    let before = world.held();
    assert_eq!(world.hear(&client.path, &channel_data(b"x")), Heard::Nothing);
    let mut somewhere = noisy.elsewhere(&mut world, false);
    let bytes = noisy.refresh(&mut somewhere);
    for _ in 0..256 {
        assert_eq!(world.hear(&somewhere.path, &bytes), Heard::Nothing);
    }
    world.read_mail(1 - there);
    assert_eq!(hears(&mut world, &phone), Some(phone.client.path));
    assert_eq!(world.shared.totals().dropped(Drop::HandoverFull), 1);
    world.read_all_mail();
    world.pass(Duration::from_millis(100));
    assert_sends_late(&mut world, &client);
    assert_eq!(hears(&mut world, &phone), Some(client.path));
    assert_eq!(world.held()[..7], before[..7]);
}

fn assert_sends_late(world: &mut World, client: &Client) {
    assert_eq!(world.hear(&client.path, &channel_data(b"y")), Heard::Nothing);
    assert_eq!(world.read_all_mail().len(), 2, "what waited, and this");
}

#[test]
fn a_path_on_which_a_client_was_expected_that_went_elsewhere_serves_others() {
    for same_shard in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut left = phone.elsewhere(&mut world, false);
        phone.announce(&mut world, &mut left);
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        assert_sends(&mut world, &client, &phone);
        // The same port of a NAT, say.
        let username = world.username("bob");
        let mut bob = Client { password: World::password(&username), username, ..left.clone() };
        let draft = bob.allocate();
        let bytes = bob.sign(draft);
        let answer = world.hear_all(&bob.path, &bytes).reply();
        assert_eq!((answer.code(), answer.relayed().len()), (0, 1));
        assert_sends(&mut world, &client, &phone);
    }
}

#[test]
fn a_client_is_expected_as_long_as_it_was_told_that_its_allocation_lives() {
    for same_shard in [true, false] {
        let mut world = World::with(|config| config.lifetimes.nonce = Duration::from_hours(1));
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, same_shard);
        phone.announce(&mut world, &mut client);
        world.pass(Duration::from_secs(550));
        assert_eq!(phone.announce(&mut world, &mut client).lifetime(), Some(600));
        world.pass(Duration::from_secs(599));
        let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(super::peer());
        let bytes = client.sign(draft);
        assert_eq!(world.hear_all(&client.path, &bytes).code(), 0);
        assert_sends(&mut world, &client, &phone);
        let draft = client.request(method::REFRESH).number(LIFETIME, 0);
        assert_eq!(world.ask(&client, draft).code(), 0);
        assert_eq!(world.held(), [0; 8]);
    }
}

/// So that what is written to this shard next is lost. Returns what makes room again.
fn fill_mailbox(world: &World, of: &Client) -> impl Fn(&mut World) + use<> {
    let (shard, path) = (World::shard_of(&of.path), of.path);
    let nobody = Serial::random(&mut rand::rngs::StdRng::from_seed([0; 32]));
    let mailbox = world.shared.mailbox(ShardIndex(u16::try_from(shard).unwrap()));
    while mailbox.put(|| Some(Letter::Unexpected { serial: nobody, path })) {}
    move |world| drop(world.read_mail(shard))
}

fn is_expected(world: &World, client: &Client) -> bool {
    world.shards[World::shard_of(&client.path)].0.has_allocation(&client.path)
}

#[test]
fn a_client_whose_allocation_has_ended_or_that_went_elsewhere_is_expected_nowhere() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut first = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut first);
    assert!(is_expected(&world, &first));
    let mut second = phone.elsewhere(&mut world, true);
    phone.announce(&mut world, &mut second);
    assert!(!is_expected(&world, &first) && is_expected(&world, &second));
    phone.announce(&mut world, &mut first);
    assert!(is_expected(&world, &first) && !is_expected(&world, &second));
    let draft = phone.client.request(method::REFRESH).number(LIFETIME, 0);
    assert_eq!(world.ask(&phone.client, draft).code(), 0);
    world.read_all_mail();
    assert_eq!(world.held(), [0; 8], "not even a timer");
}

#[test]
fn no_more_clients_are_expected_than_there_can_be_allocations() {
    let mut world = World::with(|config| (config.terms.quotas.total, config.terms.quotas.per_user) = (4, 4));
    let mut expected = 0;
    for _ in 0..20 {
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, false);
        let bytes = phone.refresh(&mut client);
        assert_eq!(world.hear_all(&client.path, &bytes).code(), 0);
        let make_room = fill_mailbox(&world, &client);
        let draft = phone.client.request(method::REFRESH).number(LIFETIME, 0);
        assert_eq!(world.ask(&phone.client, draft).code(), 0);
        make_room(&mut world);
        expected += usize::from(is_expected(&world, &client));
    }
    assert!((4..=8).contains(&expected), "{expected} in two shards");
}

#[test]
fn what_waits_on_a_path_that_the_client_left_is_not_its_own() {
    let mut world = World::new();
    let mut client = world.client("ann");
    client.path.transport = Transport::Tcp;
    let mut phone = Phone::of(&mut world, client);
    let mut left = phone.elsewhere(&mut world, false);
    left.path.transport = Transport::Udp;
    phone.announce(&mut world, &mut left);
    let mut client = phone.elsewhere(&mut world, false);
    client.path.transport = Transport::Udp;
    let bytes = phone.refresh(&mut client);
    assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing);
    let make_room = fill_mailbox(&world, &client);
    world.read_mail(World::shard_of(&phone.client.path));
    assert_eq!(world.hear(&left.path, &channel_data(b"somebody else")), Heard::Nothing);
    make_room(&mut world);
    world.close(&phone.client.path);
    let heard = world.read_all_mail();
    assert!(heard.iter().all(|(_, heard)| *heard == Heard::Nothing), "{heard:?}");
    assert_sends(&mut world, &client, &phone);
}

#[test]
fn two_shards_that_are_asked_at_once_end_with_one_allocation() {
    let mut world = World::with_shards(3, |_| ());
    let client = world.client("ann");
    let phone = Phone::of(&mut world, client);
    let [mut one, mut two] = [1, 2].map(|step| {
        let mut client = phone.client.clone();
        client.path.remote.set_port(phone.client.path.remote.port() + 9000 + step);
        world.challenge(&mut client);
        client
    });
    let (first, second) = (phone.refresh(&mut one), phone.refresh(&mut two));
    assert_eq!(world.hear(&one.path, &first), Heard::Nothing);
    assert_eq!(world.hear(&two.path, &second), Heard::Nothing);
    let answers = world.read_all_mail();
    assert_eq!(answers.len(), 2);
    assert_eq!(world.hear(&one.path, &channel_data(b"one")), Heard::Nothing);
    assert_eq!(world.hear(&two.path, &channel_data(b"two")), Heard::Nothing);
    let mut heard = world.read_all_mail();
    heard.retain(|(_, heard)| *heard != Heard::Nothing);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(world.shared.totals().dropped(Drop::NoAllocation), 1, "of the other one");
    assert_eq!(hears(&mut world, &phone), Some(two.path), "the later one of the two");
    assert_eq!(world.held()[..4], [1, 1, 1, 1]);
}

#[test]
fn closing_everything_closes_what_is_on_its_way() {
    for receiver_first in [true, false] {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, false);
        phone.announce(&mut world, &mut client);
        assert_eq!(world.hear(&client.path, &channel_data(b"x")), Heard::Nothing);
        let (there, here) = (World::shard_of(&client.path), World::shard_of(&phone.client.path));
        let close = |world: &mut World, shard: usize| {
            let (server, relays) = &mut world.shards[shard];
            server.close_all(relays);
        };
        if receiver_first {
            close(&mut world, there);
            world.read_mail(here);
        } else {
            world.read_mail(here);
            assert_eq!(world.held()[0], 0, "on its way");
            close(&mut world, there);
        }
        close(&mut world, here);
        world.read_all_mail();
        assert_eq!(world.held(), [0; 8]);
        assert_eq!(world.shared.mobile_allocations(), 0);
    }
}

#[test]
fn a_socket_that_cannot_be_taken_over_ends_the_allocation_and_leaks_nothing() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut client);
    world.shards[World::shard_of(&client.path)].1.exhausted = true;
    assert_eq!(world.hear_all(&client.path, &channel_data(b"x")), Heard::Nothing);
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn tickets_are_shown_to_nobody_who_prints_a_server() {
    let mut world = World::new();
    let mut phone = Phone::new(&mut world);
    let mut client = phone.elsewhere(&mut world, false);
    phone.announce(&mut world, &mut client);
    let bytes = phone.refresh(&mut client);
    assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing);
    assert_eq!(world.hear(&client.path, &channel_data(b"x")), Heard::Nothing);
    let printed = format!("{world:?}");
    let as_numbers = format!("{:?}", &phone.ticket[..8]);
    assert!(!printed.contains(as_numbers.trim_matches(['[', ']'])));
    assert!(!printed.contains(std::str::from_utf8(&phone.ticket).unwrap()));
}

mod orphans {
    use super::*;

    #[test]
    fn an_allocation_without_mobility_is_not_kept() {
        let mut world = World::new();
        let (client, _) = world.allocated("ann");
        world.close(&client.path);
        assert_eq!(world.held(), [0; 8]);
    }

    #[test]
    fn a_client_that_has_lost_its_connection_comes_back_with_its_ticket() {
        for same_shard in [true, false] {
            let mut world = World::new();
            let mut phone = Phone::new(&mut world);
            world.close(&phone.client.path);
            assert_eq!(hears(&mut world, &phone), None);
            assert_eq!(world.shared.totals().dropped(Drop::ClientGone), 1);
            world.pass(Duration::from_secs(59));
            let mut client = phone.elsewhere(&mut world, same_shard);
            let answer = phone.announce(&mut world, &mut client);
            assert_eq!(hears(&mut world, &phone), Some(client.path), "there is no old path to go on with");
            assert_eq!(answer.lifetime(), Some(600));
            world.pass(Duration::from_secs(599));
            assert_eq!(world.held()[0], 1);
            world.pass(Duration::from_secs(1));
            assert_eq!(world.held(), [0; 8]);
        }
    }

    #[test]
    fn the_same_path_can_be_that_of_another_allocation_meanwhile_or_bring_the_client_back() {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut same = phone.client.clone();
        world.close(&same.path);
        let draft = same.allocate();
        assert_eq!(world.ask(&same, draft).code(), 0);
        assert_eq!(world.held()[0], 2);
        let draft = same.request(method::REFRESH).number(LIFETIME, 0);
        assert_eq!(world.ask(&same, draft).code(), 0);
        phone.announce(&mut world, &mut same);
        assert_eq!(hears(&mut world, &phone), Some(same.path));
    }

    #[test]
    fn nobody_comes_back_within_a_minute_and_the_port_is_free() {
        let mut world = World::new();
        let phone = Phone::new(&mut world);
        world.close(&phone.client.path);
        world.pass(Duration::from_mins(1));
        assert_eq!(world.held(), [0; 8]);
    }

    #[test]
    fn an_orphan_does_not_live_longer_than_it_would_have() {
        let mut world = World::new();
        let phone = Phone::new(&mut world);
        world.pass(Duration::from_secs(590));
        world.close(&phone.client.path);
        world.pass(Duration::from_secs(10));
        assert_eq!(world.held(), [0; 8]);
    }

    #[test]
    fn the_end_of_the_old_connection_is_as_good_as_data_on_the_new_path() {
        for same_shard in [true, false] {
            let mut world = World::new();
            let mut phone = Phone::new(&mut world);
            let mut client = phone.elsewhere(&mut world, same_shard);
            phone.announce(&mut world, &mut client);
            world.close(&phone.client.path);
            world.read_all_mail();
            assert_eq!(hears(&mut world, &phone), Some(client.path));
            assert_sends(&mut world, &client, &phone);
            world.pass(Duration::from_secs(599));
            assert_eq!(world.held()[0], 1, "its lifetime is what the client was told");
        }
    }

    #[test]
    fn an_allocation_that_arrives_where_another_was_made_meanwhile_waits_for_its_client() {
        let mut world = World::new();
        let mut phone = Phone::new(&mut world);
        let mut client = phone.elsewhere(&mut world, false);
        phone.announce(&mut world, &mut client);
        assert_eq!(world.hear(&client.path, &channel_data(b"x")), Heard::Nothing);
        world.read_mail(World::shard_of(&phone.client.path));
        world.close(&client.path);
        let draft = client.allocate();
        let other = world.ask(&client, draft).relayed()[0];
        world.read_all_mail();
        assert_eq!(hears(&mut world, &phone), None);
        let draft = client.request(method::CREATE_PERMISSION).peer(super::super::peer());
        assert_eq!(world.ask(&client, draft).code(), 0);
        let bytes = client.send(super::super::peer(), b"x");
        let Heard::AtPeer { from, .. } = world.hear(&client.path, &bytes) else { panic!("nothing") };
        assert_eq!(from, other);
        let mut third = phone.elsewhere(&mut world, true);
        phone.announce(&mut world, &mut third);
        assert_eq!(hears(&mut world, &phone), Some(third.path));
    }

    #[test]
    fn the_end_of_the_new_connection_leaves_the_client_on_its_old_path() {
        for same_shard in [true, false] {
            let mut world = World::new();
            let mut phone = Phone::new(&mut world);
            let mut client = phone.elsewhere(&mut world, same_shard);
            phone.announce(&mut world, &mut client);
            world.close(&client.path);
            world.read_all_mail();
            assert_eq!(world.hear_all(&client.path, &channel_data(b"x")), Heard::Nothing);
            assert_eq!(hears(&mut world, &phone), Some(phone.client.path));
            let mut third = phone.elsewhere(&mut world, same_shard);
            phone.announce(&mut world, &mut third);
            assert_sends(&mut world, &third, &phone);
        }
    }
}
