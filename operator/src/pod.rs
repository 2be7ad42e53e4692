//! Pieces of pods that all kinds of media nodes have.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector,
    PodSecurityContext, Probe, SeccompProfile, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where a media node serves its admin API, and its metrics and probes.
pub const ADMIN_PORT: u16 = 9443;
pub const METRICS_PORT: u16 = 9090;

/// Whom a node runs as: from its start, or from the moment on at which its listeners are open.
pub const USER: i64 = 65532;
pub const ROOT: i64 = 0;

/// `user` is [`USER`] or [`ROOT`]; files belong to the group of [`USER`].
pub fn security_context(user: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(user != ROOT),
        run_as_user: Some(user),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// None of none.
pub fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    let secrets: Vec<_> = names.iter().cloned().map(|name| LocalObjectReference { name }).collect();
    (!secrets.is_empty()).then_some(secrets)
}

/// Of the process itself, on its metrics port.
pub fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(METRICS_PORT.into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// An environment variable with a field of the pod.
pub fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.into(), api_version: Some("v1".into()) }),
            ..EnvVarSource::default()
        }),
        value: None,
    }
}

/// Read only.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), read_only: Some(true), ..VolumeMount::default() }
}

pub fn config_volume(name: &str, config_map: &str) -> Volume {
    Volume {
        name: name.into(),
        config_map: Some(ConfigMapVolumeSource { name: config_map.into(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }
}

pub fn secret_volume(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            // Readable by the node's group only.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}
