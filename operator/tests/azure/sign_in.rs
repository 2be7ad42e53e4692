//! How the operator signs in, and what it does with tokens.

use std::time::Duration;

use operator::error::{Categorised as _, Category, with_causes};
use operator::publish::azure::{AzureError, ClientSecret, Credentials};

use crate::harness::{TurnedClock, leader, parts, principal, publish, publisher, workload};
use crate::stand_in::{Azure, LIFE, SECRET, TENANT};

async fn azure() -> Azure {
    Azure::start("Weighted", &[("a", true, 100, 1)]).await
}

fn sign_ins(azure: &Azure) -> usize {
    azure.with(|state| state.forms.len())
}

#[tokio::test]
async fn a_client_secret_is_exchanged_for_a_token_that_is_kept_until_five_minutes_before_its_end() {
    let (azure, clock, wanted) = (azure().await, TurnedClock::new(), parts(&[("a", 100)]));
    let publisher = publisher(&azure, principal("op"), clock.clone());
    for (passed, expected) in [(0, 1), (LIFE - 301, 1), (1, 2), (1, 2)] {
        clock.turn(Duration::from_secs(passed));
        publish(&publisher, &wanted).await.unwrap();
        assert_eq!(sign_ins(&azure), expected, "after another {passed} s");
    }
    azure.with(|state| {
        let form = &state.forms[0];
        assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("op", SECRET));
    });
}

#[tokio::test]
async fn the_token_of_the_cluster_is_read_again_for_each_sign_in() {
    let (azure, clock, wanted) = (azure().await, TurnedClock::new(), parts(&[("a", 100)]));
    let file = tempfile::NamedTempFile::new().unwrap();
    let publisher = publisher(&azure, workload(file.path()), clock.clone());
    for token in ["ey.first", "ey.second"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        publish(&publisher, &wanted).await.unwrap();
        clock.turn(Duration::from_secs(LIFE));
        azure.with(|state| assert_eq!(state.forms.last().unwrap()["client_assertion"], token));
    }
}

#[tokio::test]
async fn a_workload_identity_without_a_token_says_what_mounts_it() {
    let azure = azure().await;
    let publisher = publisher(&azure, workload("/nowhere/token".as_ref()), TurnedClock::new());
    let error = publish(&publisher, &parts(&[("a", 100)])).await.unwrap_err();
    assert_eq!((error.category(), error.reason()), (Category::UserMustAct, "AzureSignInFailed"));
    assert!(error.to_string().contains("azure.workload.identity/use"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_exchanged_once() {
    let (azure, wanted) = (azure().await, parts(&[("a", 100)]));
    let publisher = leader(&azure, "op");
    publish(&publisher, &wanted).await.unwrap();
    azure.with(|state| state.tokens.clear());
    publish(&publisher, &wanted).await.unwrap();
    assert_eq!(sign_ins(&azure), 2);
    azure.with(|state| state.is_deaf = true);
    let error = publish(&publisher, &wanted).await.unwrap_err();
    assert!(matches!(error, AzureError::Unauthorized { .. }), "{error}");
    assert_eq!(error.category(), Category::UserMustAct);
    assert_eq!(sign_ins(&azure), 3);
}

#[tokio::test]
async fn a_wrong_secret_is_told_once_and_never_shown() {
    let azure = azure().await;
    let wrong = "hunter2-is-wrong";
    let credentials =
        Credentials::Secret { tenant: TENANT.to_owned(), client: "op".to_owned(), secret: ClientSecret::new(wrong) };
    assert!(!format!("{credentials:?}").contains(wrong));
    let publisher = publisher(&azure, credentials, TurnedClock::new());
    let told = async || {
        let error = publish(&publisher, &parts(&[("a", 100)])).await.unwrap_err();
        assert_eq!((error.category(), error.reason()), (Category::UserMustAct, "AzureSignInFailed"));
        assert!(!format!("{error:?}").contains(wrong));
        with_causes(&error)
    };
    let first = told().await;
    assert!(first.contains("AADSTS7000215: Invalid client secret provided.") && !first.contains("Trace"), "{first}");
    assert_eq!(told().await, first, "a status that says the same is not written again");
    assert_eq!(sign_ins(&azure), 2, "one for each publication");
}
