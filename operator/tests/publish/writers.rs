//! Two writers at once, and a caller who asks all the time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hickory_proto::rr::RecordType;
use operator::publish::{Expected, PublishError, Publisher as _, RecordSet};

use super::{
    behaviours::{found, ours, set},
    harness::{Kind, Running, Setup, ask},
};

const ROUNDS: u8 = 15;

/// What a caller is told, address by address: asks over and over until it is told to stop.
async fn told(server: &Running, stop: &AtomicBool) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = ask(server.setup.address, "race.example.org.", RecordType::A).await.unwrap();
        let mut addresses: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        addresses.sort();
        all.insert(addresses);
    }
    all
}

fn of_writer(writer: u8, round: u8) -> RecordSet {
    let ip = |last: u8| format!("198.51.100.{last}");
    let low = 2 * (2 * round + writer);
    set("race", 30, &[&ip(low), &ip(low + 1), &format!("2001:db8::{writer}:{round}")])
}

async fn one_of_two_writers_wins(kind: Kind) {
    let server = Running::start(Setup::new(kind, &["race"], "")).await;
    let (left, right) = (server.publisher(), server.publisher());
    let mut now = of_writer(0, 0);
    left.publish(&now, &Expected::Nothing).await.unwrap();
    let mut published = BTreeSet::from([now.ipv4().iter().map(ToString::to_string).collect::<Vec<_>>()]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = async {
        for round in 1..=ROUNDS {
            let wanted = [of_writer(0, round), of_writer(1, round)];
            let expected = ours(&now);
            let outcomes = <[_; 2]>::from(futures::join!(
                left.publish(&wanted[0], &expected),
                right.publish(&wanted[1], &expected)
            ));
            let winner = outcomes.iter().position(Result::is_ok).expect("one of them");
            let loser = outcomes[1 - winner].as_ref().expect_err("not both");
            assert!(matches!(loser, PublishError::Conflict { .. }), "{loser:?}");
            now = wanted[winner].clone();
            assert_eq!(&found(&server, "race").await.addresses, now.addresses(), "one of the two, and all of it");
            published.insert(now.ipv4().iter().map(ToString::to_string).collect());
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (told, ()) = futures::join!(told(&server, &stop), writers);
    let strange: Vec<_> = told.difference(&published).collect();
    assert!(strange.is_empty(), "{kind:?} told what nobody has published: {strange:?}");
    assert!(told.len() > 1, "the reader was there meanwhile");
}

#[tokio::test]
async fn of_two_writers_on_bind_one_wins_and_no_answer_is_mixed_or_empty() {
    one_of_two_writers_wins(Kind::Bind).await;
}

#[tokio::test]
async fn of_two_writers_on_knot_one_wins_and_no_answer_is_mixed_or_empty() {
    one_of_two_writers_wins(Kind::Knot).await;
}

#[tokio::test]
async fn of_two_writers_on_powerdns_one_wins_and_no_answer_is_mixed_or_empty() {
    one_of_two_writers_wins(Kind::Pdns).await;
}
