//! What a publication makes of a profile.

use operator::error::{Categorised as _, Category};
use operator::publish::azure::AzureError;
use operator::publish::{Outcome, Ownership, Publisher as _, Withdrawn};

use crate::harness::{leader, parts, publish};
use crate::stand_in::Azure;

#[tokio::test]
async fn parts_of_regions_become_weights_and_nothing_is_written_twice() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1), ("b", true, 1, 2), ("c", false, 7, 3)]).await;
    let publisher = leader(&azure, "op");
    let wanted = parts(&[("a", 95), ("b", 0), ("c", 5)]);
    assert_eq!(publish(&publisher, &wanted).await.unwrap(), Outcome::Written);
    let writes = ["ExternalEndpoints/c", "ExternalEndpoints/a", "ExternalEndpoints/b"];
    azure.with(|state| {
        assert_eq!(state.writes(), writes, "those that get callers come first");
        assert_eq!(["a", "b", "c"].map(|name| state.is_enabled(name)), [true, false, true]);
        assert_eq!(["a", "b", "c"].map(|name| state.endpoints[name].weight), [95, 1, 5]);
    });
    assert_eq!(publish(&publisher, &wanted).await.unwrap(), Outcome::AlreadyThere);
    azure.with(|state| assert_eq!(state.writes(), writes));
}

#[tokio::test]
async fn with_priorities_regions_change_places_and_no_number_is_there_twice() {
    let azure = Azure::start("Priority", &[("a", true, 1, 1), ("b", true, 1, 2), ("c", true, 1, 3)]).await;
    let publisher = leader(&azure, "op");
    publish(&publisher, &parts(&[("a", 10), ("b", 30), ("c", 60)])).await.unwrap();
    azure.with(|state| assert_eq!(["a", "b", "c"].map(|name| state.endpoints[name].priority), [3, 2, 1]));
}

#[tokio::test]
async fn endpoints_of_other_kinds_are_changed_where_they_are() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1), ("b", false, 1, 2)]).await;
    azure.with(|state| state.endpoints.get_mut("b").unwrap().kind = "NestedEndpoints");
    publish(&leader(&azure, "op"), &parts(&[("a", 50), ("b", 50)])).await.unwrap();
    azure.with(|state| assert_eq!(state.writes(), ["NestedEndpoints/b", "ExternalEndpoints/a"]));
}

#[tokio::test]
async fn a_region_without_an_endpoint_is_named_when_all_others_are_done() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1), ("b", true, 50, 2)]).await;
    let publisher = leader(&azure, "op");
    let wanted = parts(&[("a", 0), ("b", 50), ("c", 50)]);
    let error = publish(&publisher, &wanted).await.unwrap_err();
    assert_eq!((error.category(), error.reason()), (Category::UserMustAct, "AzureEndpointMissing"));
    assert!(error.to_string().contains("has no endpoint named c: create one for each"), "{error}");
    azure.with(|state| assert!(!state.is_enabled("a")));
    assert!(!publisher.agreement(&wanted).await.unwrap().is_complete());
}

#[tokio::test]
async fn a_profile_that_cannot_be_used_is_left_alone() {
    for (routing, status, told) in
        [("Performance", "Enabled", "routes by Performance"), ("Weighted", "Disabled", "is disabled")]
    {
        let azure = Azure::start(routing, &[("a", false, 1, 1)]).await;
        azure.with(|state| state.profile_status = Some(status));
        let error = publish(&leader(&azure, "op"), &parts(&[("a", 100)])).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!((error.category(), error.reason()), (Category::UserMustAct, "AzureProfileUnusable"));
        azure.with(|state| assert!(state.writes().is_empty()));
    }
}

#[tokio::test]
async fn an_answer_is_told_once_it_is_there_and_probes_of_azure_let_it_pass() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1), ("b", true, 1, 2)]).await;
    let publisher = leader(&azure, "op");
    let wanted = parts(&[("a", 100), ("b", 0)]);
    let lag = async || {
        let agreement = publisher.agreement(&wanted).await.unwrap();
        agreement.lag.iter().map(|(server, lag)| format!("{server}: {lag}")).collect::<Vec<_>>().join("; ")
    };
    assert!(lag().await.contains("Azure Traffic Manager: profile turn.example"), "{}", lag().await);
    publish(&publisher, &wanted).await.unwrap();
    assert_eq!(lag().await, "");
    assert_eq!(publisher.agreement(&wanted).await.unwrap().agree, ["Azure Traffic Manager"]);
    for (monitor, is_told) in [("Degraded", false), ("Stopped", false), ("CheckingEndpoint", true), ("Online", true)] {
        azure.with(|state| state.endpoints.get_mut("a").unwrap().monitor = monitor);
        assert_eq!(lag().await.is_empty(), is_told, "{monitor}");
    }
    azure.with(|state| state.endpoints.get_mut("b").unwrap().monitor = "Degraded");
    assert_eq!(lag().await, "", "a region without callers may be down");
}

#[tokio::test]
async fn a_withdrawal_changes_nothing_because_the_endpoints_are_the_users() {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1)]).await;
    let wanted = parts(&[("a", 100)]);
    let withdrawn = leader(&azure, "op").withdraw(wanted.name(), wanted.owner()).await.unwrap();
    assert_eq!(withdrawn, Withdrawn::NotOurs(Ownership::Nobody));
    azure.with(|state| assert!(state.asked.is_empty()));
}

#[tokio::test]
async fn a_profile_that_is_not_there_says_what_to_correct() {
    let azure = Azure::start("Weighted", &[]).await;
    let id = operator::publish::azure::ProfileId { profile: "other/../x".to_owned(), ..crate::harness::id() };
    let (clock, credentials) = (crate::harness::TurnedClock::new(), crate::harness::principal("op"));
    let cloud = crate::harness::cloud(&azure);
    let publisher =
        operator::publish::azure::TrafficManager::new(id, &cloud, credentials, clock, std::sync::Arc::new(|| true), 1);
    let error = publish(&publisher.unwrap(), &parts(&[("a", 100)])).await.unwrap_err();
    assert!(matches!(error, AzureError::NoProfile { .. }), "{error}");
    assert!(error.to_string().contains("correct subscriptionId, resourceGroup and profile"), "{error}");
}
