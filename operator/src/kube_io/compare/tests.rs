use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A slot's Deployment, as a builder makes it.
fn desired() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "centralindia-0", "namespace": "media",
            "labels": {"app.kubernetes.io/name": "media-node", "rtcfleet.dev/slot": "0"},
            "ownerReferences": [{
                "apiVersion": "rtcfleet.dev/v1alpha1", "kind": "TurnRegion", "name": "centralindia", "uid": "u-1",
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"rtcfleet.dev/turnregion": "centralindia", "rtcfleet.dev/slot": "0"}},
            "template": {
                "metadata": {"labels": {"rtcfleet.dev/turnregion": "centralindia", "rtcfleet.dev/slot": "0"}},
                "spec": {
                    "hostNetwork": true,
                    "hostPID": false,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 3660,
                    "nodeSelector": {"topology.kubernetes.io/region": "centralindia"},
                    "tolerations": [{
                        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": 30,
                    }],
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
                    "initContainers": [],
                    "containers": [{
                        "name": "turn", "image": "rtc-fleet/media-node:1",
                        "args": ["turn", "--config", "/etc/rtc-fleet/turn/turn.yaml"],
                        "env": [
                            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                            {"name": "EMPTY", "value": ""},
                        ],
                        "ports": [
                            {"name": "udp", "containerPort": 3478, "protocol": "UDP"},
                            {"name": "metrics", "containerPort": 9090},
                        ],
                        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "1Gi"}},
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "initialDelaySeconds": 0},
                        "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/rtc-fleet/turn", "readOnly": true},
                            {"name": "scratch", "mountPath": "/tmp"},
                        ],
                    }],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "centralindia-turn"}},
                        {"name": "scratch", "emptyDir": {"sizeLimit": "1024Ki"}},
                        {"name": "auth", "projected": {"sources": [
                            {"secret": {"name": "turn-auth", "items": [{"key": "current", "path": "current"}]}},
                        ]}},
                    ],
                },
            },
        },
    })
}

/// The same as an API server 1.34 gives it back, after its defaults, an admission webhook and the controller.
fn live() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "centralindia-0", "namespace": "media", "uid": "u-2", "resourceVersion": "1234", "generation": 1,
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "labels": {"app.kubernetes.io/name": "media-node", "rtcfleet.dev/slot": "0", "team": "rtc"},
            "annotations": {"deployment.kubernetes.io/revision": "1"},
            "ownerReferences": [{
                "apiVersion": "rtcfleet.dev/v1alpha1", "kind": "TurnRegion", "name": "centralindia", "uid": "u-1",
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "replicas": 1,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"rtcfleet.dev/turnregion": "centralindia", "rtcfleet.dev/slot": "0"}},
            "template": {
                "metadata": {"labels": {"rtcfleet.dev/turnregion": "centralindia", "rtcfleet.dev/slot": "0"}},
                "spec": {
                    "hostNetwork": true,
                    "automountServiceAccountToken": false,
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                    "terminationGracePeriodSeconds": 3660,
                    "nodeSelector": {"topology.kubernetes.io/region": "centralindia"},
                    "tolerations": [{
                        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": 30,
                    }],
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
                    "containers": [
                        {"name": "injected-sidecar", "image": "sidecar:1"},
                        live_container(),
                    ],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "centralindia-turn", "defaultMode": 420}},
                        {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}},
                        {"name": "auth", "projected": {"defaultMode": 420, "sources": [
                            {"secret": {"name": "turn-auth", "items": [{"key": "current", "path": "current"}]}},
                        ]}},
                    ],
                },
            },
        },
        "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1},
    })
}

fn live_container() -> Value {
    json!({
        "name": "turn", "image": "rtc-fleet/media-node:1", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "args": ["turn", "--config", "/etc/rtc-fleet/turn/turn.yaml"],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {
                "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"},
            }},
            {"name": "EMPTY"},
        ],
        "ports": [
            {"name": "udp", "containerPort": 3478, "hostPort": 3478, "protocol": "UDP"},
            {"name": "metrics", "containerPort": 9090, "hostPort": 9090, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": 9090, "scheme": "HTTP"},
            "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
        },
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/rtc-fleet/turn", "readOnly": true},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
    })
}

#[test]
fn a_deployment_with_the_api_servers_defaults_and_other_owners_fields_is_not_written_again() {
    assert_eq!(differs(&desired(), &live()), None);
}

#[test]
fn an_edit_of_a_field_of_ours_is_found_and_named() {
    let template = "/spec/template/spec";
    let container = &format!("{template}/containers/1");
    for (case, at, value, expected) in [
        (
            "another image",
            format!("{container}/image"),
            json!("rtc-fleet/media-node:2"),
            "spec.template.spec.containers[0].image",
        ),
        ("scaled to nothing", "/spec/replicas".into(), json!(0), "spec.replicas"),
        (
            "an argument more",
            format!("{container}/args"),
            json!(["turn", "--config", "/etc/rtc-fleet/turn/turn.yaml", "-v"]),
            "spec.template.spec.containers[0].args",
        ),
        (
            "less memory",
            format!("{container}/resources/limits/memory"),
            json!("1G"),
            "spec.template.spec.containers[0].resources.limits.memory",
        ),
        (
            "a port moved",
            format!("{container}/ports/0/containerPort"),
            json!(3479),
            "spec.template.spec.containers[0].ports[0]",
        ),
        (
            "a mount writable",
            format!("{container}/volumeMounts/0/readOnly"),
            json!(false),
            "spec.template.spec.containers[0].volumeMounts[0].readOnly",
        ),
        (
            "a selector narrowed",
            format!("{template}/nodeSelector"),
            json!({"topology.kubernetes.io/region": "centralindia", "disk": "ssd"}),
            "spec.template.spec.nodeSelector",
        ),
        ("a toleration more", format!("{template}/tolerations"), json!([]), "spec.template.spec.tolerations"),
        (
            "another Secret",
            format!("{template}/volumes/2/projected/sources/0/secret/name"),
            json!("other"),
            "spec.template.spec.volumes[2].projected.sources[0].secret.name",
        ),
        (
            "a token mounted",
            format!("{template}/automountServiceAccountToken"),
            Value::Null,
            "spec.template.spec.automountServiceAccountToken",
        ),
        (
            "our labels gone",
            "/metadata/labels".into(),
            json!({"team": "rtc"}),
            "metadata.labels.app.kubernetes.io/name",
        ),
        ("no owner", "/metadata/ownerReferences".into(), json!([]), "metadata.ownerReferences[0]"),
        ("a container renamed", format!("{container}/name"), json!("turn2"), "spec.template.spec.containers[0]"),
    ] {
        let mut edited = live();
        *edited.pointer_mut(&at).unwrap() = value;
        assert_eq!(differs(&desired(), &edited).as_deref(), Some(expected), "{case}");
    }
}

#[test]
fn data_of_a_config_map_that_was_edited_or_removed_is_found() {
    let desired = json!({"data": {"turn.yaml": "realm: a"}});
    assert_eq!(differs(&desired, &json!({"data": {"turn.yaml": "realm: a", "theirs": "x"}})), None);
    assert_eq!(differs(&desired, &json!({"data": {"turn.yaml": "realm: b"}})).as_deref(), Some("data.turn.yaml"));
    assert_eq!(differs(&desired, &json!({})).as_deref(), Some("data"));
}

#[test]
fn a_volume_whose_kind_was_taken_away_is_found_though_it_says_nothing() {
    let desired = json!({"volumes": [{"name": "a", "emptyDir": {}}]});
    assert_eq!(differs(&desired, &json!({"volumes": [{"name": "a", "emptyDir": {}}]})), None);
    let gone = differs(&desired, &json!({"volumes": [{"name": "a"}]}));
    assert_eq!(gone.as_deref(), Some("volumes[0].emptyDir"));
}

#[test]
fn quantities_are_compared_by_value() {
    for (one, other, same) in [
        (json!("1000m"), json!("1"), true),
        (json!("0.5"), json!("500m"), true),
        (json!(2), json!("2"), true),
        (json!("1Gi"), json!("1024Mi"), true),
        (json!("1e3"), json!("1k"), true),
        (json!("1500E-3"), json!("1.5"), true),
        (json!("1G"), json!("1Gi"), false),
        (json!("100m"), json!("101m"), false),
        (json!("12345n"), json!("12345n"), true),
        (json!("many"), json!("few"), false),
        (json!("99999999999999999999999999999999999999Pi"), json!("1"), false),
    ] {
        assert_eq!(same_quantity(&one, &other), same, "{one} and {other}");
    }
}

#[test]
fn a_condition_that_only_moved_in_time_is_the_same_status() {
    let status = |ready: &str, at: &str| {
        json!({
            "observedGeneration": 3,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at}],
            "draining": [],
        })
    };
    let (noon, later) = ("2026-01-01T12:00:00Z", "2026-01-01T12:05:00Z");
    assert!(same_status(&status("True", noon), &status("True", later)));
    assert!(!same_status(&status("True", noon), &status("False", noon)));
}

#[test]
fn a_field_that_left_the_status_is_a_difference() {
    let before = json!({"observedGeneration": 3, "scaling": {"desired": 2}});
    assert!(!same_status(&json!({"observedGeneration": 3}), &before));
    assert!(same_status(&json!({"observedGeneration": 3, "scaling": null}), &json!({"observedGeneration": 3})));
}

/// Objects whose lists are of plain values, as deep as real ones.
fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        "[a-z]{1,6}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[a-z]{1,4}", inner.clone(), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    });
    proptest::collection::btree_map("[a-z]{1,4}", tree, 1..6)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// Adds a field of somebody else's to every object.
fn with_others_fields(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), with_others_fields(value))).collect();
            fields.insert("Theirs".into(), json!(1));
            Value::Object(fields)
        }
        Value::Array(items) => Value::Array(items.iter().map(with_others_fields).collect()),
        other => other.clone(),
    }
}

fn plain_values(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(plain_values).sum(),
        Value::Array(items) => items.iter().map(plain_values).sum(),
        _ => 1,
    }
}

/// Changes the `nth` plain value.
fn spoil(value: &mut Value, nth: &mut usize) -> bool {
    match value {
        Value::Object(fields) => fields.values_mut().any(|value| spoil(value, nth)),
        Value::Array(items) => items.iter_mut().any(|value| spoil(value, nth)),
        leaf if *nth == 0 => {
            *leaf = json!("SPOILT");
            true
        }
        _ => {
            *nth -= 1;
            false
        }
    }
}

proptest! {
    #[test]
    fn fields_of_others_never_cause_a_write(object in any_object()) {
        prop_assert_eq!(differs(&object, &with_others_fields(&object)), None);
    }

    #[test]
    fn no_edit_of_a_field_of_ours_is_missed(object in any_object(), which: proptest::sample::Index) {
        let mut live = with_others_fields(&object);
        // The n-th plain value of ours: counted in what we want, so that others' fields are not hit.
        let mut spoilt = object.clone();
        let plain_values = plain_values(&object);
        prop_assume!(plain_values > 0);
        spoil(&mut spoilt, &mut which.index(plain_values));
        merge(&mut live, &spoilt);
        prop_assert!(differs(&object, &live).is_some());
    }
}

/// Lays `over` onto `live`, keeping fields of others.
fn merge(live: &mut Value, over: &Value) {
    match (live, over) {
        (Value::Object(live), Value::Object(over)) => {
            for (name, value) in over {
                merge(live.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(over)) if live.len() == over.len() => {
            live.iter_mut().zip(over).for_each(|(live, over)| merge(live, over));
        }
        (live, over) => *live = over.clone(),
    }
}
