//! A resource manager that is busy, breaks off, refuses, or is none.

use std::time::{Duration, Instant};

use operator::error::{Categorised as _, Category};
use operator::publish::Outcome;
use operator::publish::azure::{AzureError, Cloud, TrafficManager};

use crate::harness::{TurnedClock, cloud, id, leader, parts, principal, publish};
use crate::stand_in::{Azure, Fault};

async fn azure(faults: &[Fault]) -> Azure {
    let azure = Azure::start("Weighted", &[("a", true, 1, 1)]).await;
    azure.with(|state| state.faults.extend(faults));
    azure
}

#[tokio::test]
async fn what_passes_is_waited_for_as_long_as_azure_asks() {
    let azure = azure(&[Fault::Refuse(429, Some(1)), Fault::Refuse(500, None), Fault::Drop]).await;
    let begun = Instant::now();
    assert_eq!(publish(&leader(&azure, "op"), &parts(&[("a", 100)])).await.unwrap(), Outcome::Written);
    // A second that was asked for, then those of the second and the third try.
    let took = begun.elapsed();
    assert!((Duration::from_millis(1000 + 750 + 1500)..Duration::from_secs(9)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn the_fourth_try_is_the_last() {
    let azure = azure(&[Fault::Refuse(503, Some(0)); 5]).await;
    let error = publish(&leader(&azure, "op"), &parts(&[("a", 100)])).await.unwrap_err();
    assert!(matches!(error, AzureError::Busy { status: 503, .. }), "{error}");
    assert_eq!((error.category(), error.reason()), (Category::Retry, "AzureUnresponsive"));
    azure.with(|state| assert_eq!(state.asked.len(), 4));
}

/// Whoever sends it again has to lead still.
#[tokio::test]
async fn a_write_that_is_refused_for_now_is_decided_again_before_it_is_sent_again() {
    let azure = azure(&[]).await;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let may_write = {
        let (azure, asked) = (azure.clone(), asked.clone());
        move || {
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                azure.with(|state| state.faults.push_back(Fault::Refuse(429, Some(0))));
            }
            true
        }
    };
    let publisher = crate::harness::writing(&azure, std::sync::Arc::new(may_write));
    assert_eq!(publish(&publisher, &parts(&[("a", 50)])).await.unwrap(), Outcome::Written);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    azure.with(|state| assert_eq!(state.asked, ["GET", "PATCH refused", "GET", "PATCH ExternalEndpoints/a", "GET"]));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_looked_for_and_not_sent_again() {
    let azure = azure(&[]).await;
    let publisher = leader(&azure, "op");
    publish(&publisher, &parts(&[("a", 50)])).await.unwrap();
    azure.with(|state| {
        // The look is answered, the write is not.
        state.faults.clear();
        state.endpoints.get_mut("a").unwrap().weight = 3;
    });
    let may_write = {
        let azure = azure.clone();
        let once = std::sync::Once::new();
        move || {
            once.call_once(|| azure.with(|state| state.faults.push_back(Fault::DoAndDrop)));
            true
        }
    };
    let publisher = crate::harness::writing(&azure, std::sync::Arc::new(may_write));
    assert_eq!(publish(&publisher, &parts(&[("a", 50)])).await.unwrap(), Outcome::Written);
    azure.with(|state| {
        assert_eq!(state.endpoints["a"].weight, 50);
        assert_eq!(state.writes().len(), 2, "one of each publication");
    });
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let azure = azure(&[Fault::Babble]).await;
    let error = publish(&leader(&azure, "op"), &parts(&[("a", 100)])).await.unwrap_err();
    assert!(matches!(error, AzureError::TooLong { .. }), "{error}");
    assert_eq!(error.category(), Category::Retry);
}

#[tokio::test]
async fn a_refusal_is_told_at_once_with_the_remedy() {
    for (status, reason, remedy) in [
        (403, "AzureForbidden", "the role \"Traffic Manager Contributor\" on profile turn.example"),
        (404, "AzureProfileMissing", "correct subscriptionId, resourceGroup and profile"),
        (400, "AzureRefused", "refuses with 400: Scripted: as the test says"),
        (302, "AzureRefused", "the resource manager that the operator is told"),
    ] {
        let azure = azure(&[Fault::Refuse(status, None)]).await;
        let error = publish(&leader(&azure, "op"), &parts(&[("a", 100)])).await.unwrap_err();
        assert_eq!((error.category(), error.reason()), (Category::UserMustAct, reason), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
        azure.with(|state| assert_eq!(state.asked.len(), 1, "{status}"));
    }
}

#[tokio::test]
async fn a_refused_write_is_looked_at_again_before_it_is_told() {
    let azure = azure(&[]).await;
    let refuses = |times: usize| {
        let azure = azure.clone();
        let left = std::sync::Mutex::new(times);
        std::sync::Arc::new(move || {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                azure.with(|state| state.faults.push_back(Fault::Refuse(400, None)));
            }
            // Somebody else changes what the write is about.
            azure.with(|state| state.endpoints.get_mut("a").unwrap().is_enabled ^= true);
            true
        })
    };
    let publisher = crate::harness::writing(&azure, refuses(1));
    assert_eq!(publish(&publisher, &parts(&[("a", 100)])).await.unwrap(), Outcome::Written);
    let azure = self::azure(&[]).await;
    let publisher = crate::harness::writing(&azure, {
        let azure = azure.clone();
        std::sync::Arc::new(move || {
            azure.with(|state| state.faults.push_back(Fault::Refuse(400, None)));
            true
        })
    });
    let error = publish(&publisher, &parts(&[("a", 100)])).await.unwrap_err();
    assert!(matches!(error, AzureError::Refused { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn nobody_at_the_other_end_is_worth_another_try() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let azure = azure(&[]).await;
    let resource_manager = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let cloud = Cloud { resource_manager, ..cloud(&azure) };
    let (clock, may_write) = (TurnedClock::new(), std::sync::Arc::new(|| true));
    let publisher = TrafficManager::new(id(), &cloud, principal("op"), clock, may_write, 1).unwrap();
    let error = publish(&publisher, &parts(&[("a", 100)])).await.unwrap_err();
    assert_eq!((error.category(), error.reason()), (Category::Retry, "AzureUnreachable"), "{error}");
}

/// The certificate is good for the address, and of nobody whom we trust.
#[tokio::test]
async fn a_secret_is_not_sent_to_whoever_answers() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let served = tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let mut sessions = 0;
        for _ in 0..4 {
            let (stream, _) = listener.accept().await.unwrap();
            sessions += usize::from(acceptor.accept(stream).await.is_ok());
        }
        sessions
    });
    let azure = azure(&[]).await;
    let cloud = Cloud { authority, ..cloud(&azure) };
    let (clock, may_write) = (TurnedClock::new(), std::sync::Arc::new(|| true));
    let publisher = TrafficManager::new(id(), &cloud, principal("op"), clock, may_write, 1).unwrap();
    let error = publish(&publisher, &parts(&[("a", 100)])).await.unwrap_err();
    assert!(matches!(error, AzureError::Unreachable { .. }), "{error}");
    assert!(operator::error::with_causes(&error).contains("UnknownIssuer"), "{}", operator::error::with_causes(&error));
    assert_eq!(served.await.unwrap(), 0);
}
