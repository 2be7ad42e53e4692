//! Two replicas that both think that they lead, and one that does not any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use operator::error::{Categorised as _, Category};
use operator::publish::Outcome;
use operator::publish::azure::AzureError;

use crate::harness::{leader, parts, publish, writing};
use crate::stand_in::{Azure, DELAY, Fault};

#[tokio::test]
async fn of_two_leaders_the_last_one_has_its_way_and_callers_always_have_an_answer() {
    for routing in ["Weighted", "Priority"] {
        let azure = Azure::start(routing, &[("a", true, 1, 1), ("b", true, 1, 2), ("c", false, 1, 3)]).await;
        let (former, present) = (leader(&azure, "former"), leader(&azure, "present"));
        let wishes = [parts(&[("a", 100), ("b", 0), ("c", 0)]), parts(&[("a", 0), ("b", 40), ("c", 60)])];
        azure.with(|state| state.takes_turns = true);
        let one = async {
            let done = publish(&former, &wishes[0]).await;
            azure.leave("former");
            done
        };
        let other = async {
            let done = publish(&present, &wishes[1]).await;
            azure.leave("present");
            done
        };
        let (one, other) = tokio::join!(one, other);
        for done in [one, other] {
            let is_expected = matches!(done, Ok(_) | Err(AzureError::Contended { .. }));
            assert!(is_expected, "{routing}: {done:?}");
        }
        azure.with(|state| state.takes_turns = false);
        publish(&present, &wishes[1]).await.unwrap();
        azure.with(|state| {
            assert_eq!(["a", "b", "c"].map(|name| state.is_enabled(name)), [false, true, true], "{routing}");
            assert!(!state.was_silent, "{routing}: callers had no answer");
        });
        assert_eq!(publish(&present, &wishes[1]).await.unwrap(), Outcome::AlreadyThere);
    }
}

/// Between a look and the write that follows, all that the other leader does.
#[tokio::test]
async fn a_write_that_comes_late_is_mended_by_the_same_publication() {
    let azure = Azure::start("Weighted", &[("a", true, 100, 1), ("b", true, 100, 2)]).await;
    let may_write = {
        let azure = azure.clone();
        let once = std::sync::Once::new();
        move || {
            once.call_once(|| azure.with(|state| state.endpoints.get_mut("a").unwrap().is_enabled = false));
            true
        }
    };
    publish(&writing(&azure, Arc::new(may_write)), &parts(&[("a", 100), ("b", 0)])).await.unwrap();
    azure.with(|state| {
        assert_eq!(["a", "b"].map(|name| state.is_enabled(name)), [true, false]);
        assert_eq!(state.writes(), ["ExternalEndpoints/b", "ExternalEndpoints/a"]);
    });
}

#[tokio::test]
async fn a_replica_that_loses_the_lease_writes_nothing_more() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1), ("b", true, 1, 2)]).await;
    let asked = AtomicUsize::new(0);
    let publisher = writing(&azure, Arc::new(move || asked.fetch_add(1, Ordering::Relaxed) == 0));
    let error = publish(&publisher, &parts(&[("a", 50), ("b", 50)])).await.unwrap_err();
    assert_eq!((error.category(), error.reason()), (Category::Retry, "NotLeader"));
    azure.with(|state| assert_eq!(state.writes(), ["ExternalEndpoints/a"]));
}

/// Of one and the same leader.
#[tokio::test]
async fn a_newer_answer_waits_for_the_write_that_it_overtakes() {
    let azure = Azure::start("Weighted", &[("a", true, 100, 1), ("b", true, 100, 2)]).await;
    let delays = {
        let (azure, once) = (azure.clone(), std::sync::Once::new());
        move || {
            once.call_once(|| azure.with(|state| state.faults.push_back(Fault::Delay)));
            true
        }
    };
    let publisher = writing(&azure, Arc::new(delays));
    let overtaken = parts(&[("a", 0), ("b", 100)]);
    assert!(tokio::time::timeout(DELAY / 2, publish(&publisher, &overtaken)).await.is_err(), "a is being disabled");
    publish(&publisher, &parts(&[("a", 100), ("b", 0)])).await.unwrap();
    tokio::time::sleep(DELAY).await; // Nothing is to come any more.
    azure.with(|state| {
        assert_eq!(["a", "b"].map(|name| state.is_enabled(name)), [true, false]);
        assert!(!state.was_silent, "callers had no answer");
    });
}
