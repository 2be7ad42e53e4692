//! More requests from one network than are answered.

use std::time::{Duration, Instant};

use media_node::turn::proto::{message::method, test_support::Answer};

use crate::{
    PEER, caller,
    caller::echo,
    node::{Node, PATIENCE, Plan},
};

fn limited(node: &Node) -> u64 {
    let (_, page) = node.get("/metrics");
    let row = "rtcfleet_turn_dropped_packets_total{reason=\"rate_limited\"} ";
    page.lines().find_map(|line| line.strip_prefix(row)).expect("a row").parse().unwrap()
}

fn until(node: &Node, count: u64) {
    let over = Instant::now() + PATIENCE;
    while limited(node) < count {
        assert!(Instant::now() < over, "{} of {count} are counted", limited(node));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn in_a_flood_a_client_is_answered_when_it_sends_again_and_one_that_is_known_does_not_notice() {
    let mut plan = Plan::new();
    // One in two seconds for each of the two threads.
    plan.more += "limits: {unauthenticatedPerPrefix: 1}";
    let node = plan.start();
    let mut known = caller(&node, "alice");
    assert_eq!(known.allocate().code(), 0);

    // Each socket is on one thread: enough of them that both are flooded.
    let mut flood: Vec<_> = (0..16).map(|n| caller(&node, &format!("user{n}"))).collect();
    for _ in 0..20 {
        for caller in &mut flood {
            let request = caller.client.request(method::BINDING).bare();
            caller.send(&request);
        }
    }
    until(&node, 300);

    let peer = echo(PEER);
    assert_eq!(known.permit(peer), 0);
    assert_eq!(known.binding().mapped(), Some(known.client.path.remote));
    assert_eq!(known.indication_echo(peer, b"calm").1, b"calm");

    let mut new = caller(&node, "bob");
    let request = new.client.allocate().bare();
    let before = limited(&node);
    new.send(&request);
    // Dropped, unless its thread has just had an answer to give.
    let over = Instant::now() + Duration::from_millis(500);
    while limited(&node) == before && Instant::now() < over {
        std::thread::sleep(Duration::from_millis(5));
    }
    new.send(&request);
    let challenge = Answer(new.hear());
    assert_eq!(challenge.code(), 401);
    new.client.learn(&challenge);
    // The answer to the second, if the first was answered too.
    let allocate = new.client.allocate();
    let request = new.client.sign(allocate);
    let mut answer = new.ask(&request);
    if answer.code() == 401 {
        answer = Answer(new.hear());
    }
    assert_eq!(answer.code(), 0);
    assert_eq!(new.permit(peer), 0);
}
