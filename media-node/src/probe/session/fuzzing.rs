//! The body of a fuzz target: a hostile server. Any panic is a fault of ours, and so is a session that does not end.

use std::time::{Duration, Instant};

use super::{Echo, Output, Plan, Session};
use crate::{
    probe::pace::Pace,
    turn::{
        probe::client::Client,
        proto::{
            attribute::{DATA, NONCE, REALM, XOR_MAPPED_ADDRESS, XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS},
            encode::Writer,
            message::{Class, method},
        },
    },
};

/// Of one input.
const MOST_STEPS: usize = 256;

/// Bytes become what a server says and how time passes. Returns how far the session came: for a fuzzer that must reach
/// packets to mean anything.
pub fn session(bytes: &[u8]) -> bool {
    let (Some(first), start) = (bytes.first(), Instant::now()) else { return false };
    let echo = match first % 3 {
        0 => Echo::Relay,
        1 => Echo::Here,
        _ => Echo::At(([192, 0, 2, 1], 7).into()),
    };
    let client = || Client::named("name".to_owned(), "password".to_owned());
    let pace = Pace::of(Duration::from_secs(1));
    let plan =
        Plan { echo, packets: 4, pace, lossy: first & 4 == 0, v6: first & 8 != 0, clients: vec![client(), client()] };
    let Some(mut session) = Session::new(plan, [3; 32], start, start) else { return false };
    let (mut now, mut reports, mut sent, mut packets) = (start, 0, 0, false);
    let mut rest = &bytes[1..];
    for _ in 0..MOST_STEPS {
        let Some((&[kind, len], more)) = rest.split_first_chunk::<2>() else { break };
        let (value, more) = more.split_at(usize::from(len).min(more.len()));
        rest = more;
        match kind % 6 {
            0 => session.handle_message(now, &answer(&session, kind, value)),
            1 => session.handle_message(now, value),
            2 => session.handle_here(now, value),
            3 => session.handle_message(now, &data(kind, value)),
            4 if kind & 0x80 != 0 => session.handle_broken(now, "broken"),
            _ => {
                now += Duration::from_millis(len.into());
                session.handle_timeout(now);
            }
        }
        while let Some(output) = session.poll_output() {
            reports += usize::from(matches!(output, Output::Report(_)));
            packets |= matches!(output, Output::FromHere { .. });
            sent += 1;
        }
    }
    for _ in 0..MOST_STEPS {
        let Some(at) = session.poll_timeout() else { break };
        assert!(at <= now + pace.whole * 2, "it waits for too long");
        now = now.max(at);
        session.handle_timeout(now);
        while let Some(output) = session.poll_output() {
            reports += usize::from(matches!(output, Output::Report(_)));
            sent += 1;
        }
    }
    assert!(session.poll_timeout().is_none(), "it does not end");
    assert_eq!(reports, 1, "one report");
    assert!(sent <= 2 * MOST_STEPS + 64, "{sent} messages sent");
    packets
}

/// What answers the request that waits: success or an error of `kind`, with the attributes that tell, or with those of
/// `value`. An unsigned success is taken from a server that asks for no credentials.
fn answer(session: &Session, kind: u8, value: &[u8]) -> Vec<u8> {
    let transaction = session.pending.as_ref().map_or([0; 12], |pending| pending.request.transaction);
    let code = [0, 0, 401, 438, 440, 437, 300, 403, 486, 508][usize::from(kind / 6) % 10];
    let class = if code == 0 { Class::Success } else { Class::Error };
    let mut bytes = Vec::new();
    let mut writer = Writer::start(&mut bytes, class, method::ALLOCATE, transaction);
    if code == 0 {
        writer.address(XOR_RELAYED_ADDRESS, ([192, 0, 2, 1], 7).into());
        writer.address(XOR_MAPPED_ADDRESS, ([192, 0, 2, 1], 7).into());
    } else {
        writer.error(code).attribute(REALM, value).attribute(NONCE, value);
    }
    if let Some((&[high, low], value)) = value.split_first_chunk::<2>() {
        writer.attribute(u16::from_be_bytes([high, low]), value);
    }
    writer.finish();
    bytes
}

/// A Data indication.
fn data(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::start(&mut bytes, Class::Indication, method::DATA, [9; 12]);
    if kind & 0x80 == 0 {
        writer.address(XOR_PEER_ADDRESS, ([192, 0, 2, 1], 7).into());
    }
    writer.attribute(DATA, value).finish();
    bytes
}
