use std::sync::{Arc, Mutex};

use http::Response;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::error::Categorised as _;
use crate::kube_io::testing::{Scenario, Seen, answer, refusal};
use crate::publish::Ttl;

/// An API server that keeps one object and compares its versions.
#[derive(Clone, Default)]
struct Kept {
    object: Arc<Mutex<Option<Value>>>,
    writes: Arc<Mutex<usize>>,
    /// Somebody else writes before each of our writes.
    is_contended: bool,
}

impl Kept {
    fn holding(object: Value) -> Self {
        Self { object: Arc::new(Mutex::new(Some(object))), ..Self::default() }
    }

    fn answer(&self, request: &Seen) -> Response<Body> {
        let mut object = self.object.lock().unwrap();
        let mut writes = self.writes.lock().unwrap();
        match (request.method.as_str(), object.as_mut()) {
            ("GET", Some(object)) => answer(object),
            ("GET" | "PUT" | "DELETE", None) => refusal(404, "NotFound"),
            ("POST", Some(_)) => refusal(409, "AlreadyExists"),
            ("DELETE", Some(_)) => {
                *object = None;
                answer(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200}))
            }
            ("POST" | "PUT", _) => {
                let mut body: Value = request.json();
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                let is_same = object.as_ref().is_none_or(|object| version(object) == version(&body));
                if self.is_contended || !is_same {
                    return refusal(409, "Conflict");
                }
                *writes += 1;
                body["metadata"]["resourceVersion"] = json!(writes.to_string());
                body["metadata"]["uid"] = json!("u-1");
                body["metadata"]["generation"] = json!(*writes);
                *object = Some(body);
                answer(&*object)
            }
            other => panic!("{other:?}"),
        }
    }

    fn publisher(&self) -> (ExternalDns, Scenario) {
        let kept = self.clone();
        let (client, scenario) = Scenario::start(move |request| kept.answer(&request));
        let of = Identity { name: "india".into(), namespace: "rtc".into(), uid: "0d5f".into(), generation: 1 };
        let labels = [("dns".to_owned(), "public".to_owned())].into();
        (ExternalDns::new(client, of, labels, Routing::Simple), scenario)
    }
}

fn set(last: u8, claim: u32) -> RecordSet {
    let owner = Owner::new("rtc", "india", "0d5f").unwrap().claiming(claim);
    let name = "turn.example.org".parse().unwrap();
    RecordSet::new(name, owner, Ttl::new(30).unwrap(), [[192, 0, 2, last].into()]).unwrap()
}

fn ours(last: u8) -> Expected {
    Expected::Ours(set(last, 1).addresses().clone())
}

fn told(published: &Result<Published, PublishError>) -> &'static str {
    match published {
        Ok(Published { outcome: Outcome::Written, .. }) => "written",
        Ok(Published { outcome: Outcome::AlreadyThere, .. }) => "there",
        Err(PublishError::Conflict { .. }) => "conflict",
        Err(PublishError::Foreign { .. }) => "foreign",
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_answer_is_written_once_and_says_whose_it_is() {
    let kept = Kept::default();
    let (publisher, _scenario) = kept.publisher();
    assert_eq!(told(&publisher.publish(&set(1, 1), &Expected::Nothing).await), "written");
    assert_eq!(told(&publisher.publish(&set(1, 1), &ours(1)).await), "there");
    assert_eq!(told(&publisher.publish(&set(2, 1), &ours(1)).await), "written");
    let object = kept.object.lock().unwrap().clone().unwrap();
    assert_eq!(object["metadata"]["name"], "turn.example.org");
    assert_eq!(object["metadata"]["annotations"]["rtcfleet.dev/owner"], "rtc/india/0d5f,claim=1");
    assert_eq!(object["metadata"]["labels"]["dns"], "public");
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "0d5f");
    assert_eq!(object["spec"]["endpoints"][0]["targets"], json!(["192.0.2.2"]));
    assert_eq!(*kept.writes.lock().unwrap(), 2);
}

#[tokio::test]
async fn what_others_have_put_on_an_object_stays_and_labels_that_are_not_wanted_any_more_go() {
    let kept = Kept::default();
    kept.publisher().0.publish(&set(1, 1), &Expected::Nothing).await.unwrap();
    {
        let mut object = kept.object.lock().unwrap();
        let meta = &mut object.as_mut().unwrap()["metadata"];
        meta["labels"]["team"] = json!("media");
        meta["finalizers"] = json!(["example.org/audit"]);
        meta["annotations"]["example.org/seen"] = json!("yes");
    }
    let (publisher, _scenario) = kept.publisher();
    assert_eq!(told(&publisher.publish(&set(1, 1), &ours(1)).await), "there");
    let relabelled = ExternalDns { labels: [("zone".to_owned(), "b".to_owned())].into(), ..publisher };
    assert_eq!(told(&relabelled.publish(&set(2, 1), &ours(1)).await), "written");
    let meta = &kept.object.lock().unwrap().clone().unwrap()["metadata"];
    assert_eq!(meta["labels"], json!({"team": "media", "zone": "b"}));
    assert_eq!(meta["finalizers"], json!(["example.org/audit"]));
    assert_eq!(
        (&meta["annotations"]["example.org/seen"], meta["ownerReferences"].as_array().unwrap().len()),
        (&json!("yes"), 1)
    );
}

#[tokio::test]
async fn an_object_that_goes_while_it_is_written_is_a_conflict_and_no_missing_kind() {
    let mut requests = 0;
    let kept = Kept::default();
    kept.publisher().0.publish(&set(1, 1), &Expected::Nothing).await.unwrap();
    let (client, _scenario) = Scenario::start({
        let kept = kept.clone();
        move |request| {
            requests += 1;
            if requests == 2 {
                *kept.object.lock().unwrap() = None;
            }
            kept.answer(&request)
        }
    });
    let publisher = ExternalDns { api: Api::namespaced(client, "rtc"), ..kept.publisher().0 };
    assert_eq!(told(&publisher.publish(&set(2, 1), &ours(1)).await), "conflict");
}

#[tokio::test]
async fn a_former_leader_that_is_late_changes_nothing() {
    let kept = Kept::default();
    let (publisher, _scenario) = kept.publisher();
    publisher.publish(&set(1, 1), &Expected::Nothing).await.unwrap();
    let Err(PublishError::Conflict { found, .. }) = publisher.publish(&set(2, 2), &Expected::Nothing).await else {
        panic!("the new leader is told what is there")
    };
    assert_eq!(found.owner, Ownership::Owner(set(1, 1).owner().clone()));
    assert_eq!(told(&publisher.publish(&set(2, 2), &Expected::TakeOver(*found)).await), "written");
    assert_eq!(told(&publisher.publish(&set(3, 1), &ours(1)).await), "conflict");
    assert_eq!(*kept.writes.lock().unwrap(), 2);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    for annotations in [json!({}), json!({"rtcfleet.dev/owner": "rtc/other/1,claim=1"})] {
        let kept = Kept::holding(json!({
            "apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
            "metadata": {"name": "turn.example.org", "resourceVersion": "7", "annotations": annotations},
            "spec": {"endpoints": []},
        }));
        let (publisher, _scenario) = kept.publisher();
        assert_eq!(told(&publisher.publish(&set(1, 1), &Expected::Nothing).await), "foreign");
        assert_eq!(told(&publisher.publish(&set(1, 1), &ours(1)).await), "foreign");
        let wanted = set(1, 1);
        let withdrawn = publisher.withdraw(wanted.name(), wanted.owner()).await.unwrap();
        assert!(matches!(withdrawn, Withdrawn::NotOurs(_)), "{withdrawn:?}");
        assert!(kept.object.lock().unwrap().is_some());
        assert_eq!(*kept.writes.lock().unwrap(), 0);
    }
}

#[tokio::test]
async fn of_two_writers_at_once_the_later_one_is_told() {
    let kept = Kept::default();
    kept.publisher().0.publish(&set(1, 1), &Expected::Nothing).await.unwrap();
    let (publisher, _scenario) = Kept { is_contended: true, ..kept }.publisher();
    assert_eq!(told(&publisher.publish(&set(2, 1), &ours(1)).await), "conflict");
}

#[tokio::test]
async fn a_name_is_told_when_external_dns_has_looked_at_it() {
    let kept = Kept::default();
    let (publisher, _scenario) = kept.publisher();
    let wanted = set(1, 1);
    assert!(!publisher.agreement(&wanted).await.unwrap().is_complete(), "nothing is there");
    publisher.publish(&wanted, &Expected::Nothing).await.unwrap();
    assert!(!publisher.agreement(&wanted).await.unwrap().is_complete(), "nobody has looked");
    kept.object.lock().unwrap().as_mut().unwrap()["status"] = json!({"observedGeneration": 1});
    assert!(publisher.agreement(&wanted).await.unwrap().is_complete());
    assert!(publisher.agreement(&set(1, 0)).await.unwrap().is_complete(), "who claims it is no matter");
    kept.object.lock().unwrap().as_mut().unwrap()["spec"]["endpoints"][0]["targets"] = json!(["192.0.2.66"]);
    assert!(!publisher.agreement(&wanted).await.unwrap().is_complete(), "somebody has edited it");
}

#[tokio::test]
async fn what_is_withdrawn_is_gone_and_may_be_withdrawn_again() {
    let kept = Kept::default();
    let (publisher, _scenario) = kept.publisher();
    let wanted = set(1, 1);
    publisher.publish(&wanted, &Expected::Nothing).await.unwrap();
    assert_eq!(publisher.withdraw(wanted.name(), wanted.owner()).await.unwrap(), Withdrawn::Removed);
    let again = publisher.withdraw(wanted.name(), wanted.owner()).await.unwrap();
    assert_eq!(again, Withdrawn::NotOurs(Ownership::Nobody));
}

#[tokio::test]
async fn a_cluster_without_external_dns_is_told_what_to_install() {
    let (client, _scenario) = Scenario::start(|_| refusal(404, "NotFound"));
    let of = Identity { name: "india".into(), namespace: "rtc".into(), uid: "0d5f".into(), generation: 1 };
    let publisher = ExternalDns::new(client, of, BTreeMap::new(), Routing::Simple);
    let error = publisher.publish(&set(1, 1), &Expected::Nothing).await.unwrap_err();
    assert_eq!(error.reason(), "DnsEndpointsUnknown");
}
