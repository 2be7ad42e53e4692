//! Why a call to the API server failed, and who can end that.

use std::time::Duration;

use crate::{
    decisions::ObjectRef,
    error::{Categorised, Category, with_causes},
};

/// A call that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    #[error("{doing} {object}: the API server gave no answer in {waited:?}")]
    NoAnswer { doing: &'static str, object: ObjectRef, waited: Duration },
    #[error("{doing} {object}: {}", with_causes(&**source))]
    Refused { doing: &'static str, object: ObjectRef, source: Box<kube::Error> },
    #[error("{doing} {object}: it cannot be written as JSON")]
    Unwritable { doing: &'static str, object: ObjectRef, source: serde_json::Error },
    #[error("{doing} {kind}: the object has no name, namespace or uid")]
    Nameless { doing: &'static str, kind: String },
}

impl IoError {
    /// The API server's own error, for [`is_not_found`] and its like.
    pub fn api(&self) -> Option<&kube::Error> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::NoAnswer { .. } | Self::Unwritable { .. } | Self::Nameless { .. } => None,
        }
    }
}

impl Categorised for IoError {
    fn category(&self) -> Category {
        match self {
            Self::NoAnswer { .. } => Category::Retry,
            Self::Unwritable { .. } | Self::Nameless { .. } => Category::Bug,
            Self::Refused { source, .. } => match &**source {
                error if is_namespace_ending(error) => Category::Retry,
                kube::Error::Api(status) if matches!(status.code, 401 | 403 | 422) => Category::UserMustAct,
                kube::Error::Api(status) if status.code == 400 => Category::Bug,
                kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Category::Bug,
                _ => Category::Retry,
            },
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoAnswer { .. } => "ApiServerUnreachable",
            Self::Unwritable { .. } | Self::Nameless { .. } => "InternalError",
            Self::Refused { source, .. } => match &**source {
                error if is_namespace_ending(error) => "NamespaceTerminating",
                kube::Error::Api(status) => match status.code {
                    401 | 403 => "Forbidden",
                    404 => "NotFound",
                    409 => "Conflict",
                    400 | 422 => "Rejected",
                    429 => "ApiServerBusy",
                    _ => "ApiServerError",
                },
                kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                    "InternalError"
                }
                _ => "ApiServerUnreachable",
            },
        }
    }
}

fn status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The object does not exist (any more).
pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// The object changed since it was read, or a precondition does not hold.
pub fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason != "AlreadyExists")
}

/// Somebody else created it first.
pub fn is_already_exists(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
}

/// The namespace is being deleted: nothing can be created in it, and nothing needs to be.
pub fn is_namespace_ending(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| {
        status.code == 403
            && status
                .details
                .as_ref()
                .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("said the server", reason).with_code(code).boxed())
    }

    #[test]
    fn each_refusal_says_who_can_end_it() {
        for (case, code, reason, expected) in [
            ("a missing right is the administrator's", 403, "Forbidden", (Category::UserMustAct, "Forbidden")),
            ("a template that is refused is its writer's", 422, "Invalid", (Category::UserMustAct, "Rejected")),
            ("a write that lost a race is made again", 409, "Conflict", (Category::Retry, "Conflict")),
            ("a busy API server is left alone", 429, "TooManyRequests", (Category::Retry, "ApiServerBusy")),
            ("a broken API server comes back", 500, "InternalError", (Category::Retry, "ApiServerError")),
            ("a request that is no request is our bug", 400, "BadRequest", (Category::Bug, "Rejected")),
        ] {
            let error = IoError::Refused {
                doing: "apply",
                object: ObjectRef::new("Deployment", "media", "a-0"),
                source: Box::new(api(code, reason)),
            };
            assert_eq!((error.category(), error.reason()), expected, "{case}");
            assert_eq!(error.to_string(), format!("apply Deployment media/a-0: said the server ({code})"), "{case}");
        }
    }

    #[test]
    fn created_by_somebody_else_and_changed_by_somebody_else_are_told_apart() {
        assert!(is_already_exists(&api(409, "AlreadyExists")) && !is_conflict(&api(409, "AlreadyExists")));
        assert!(is_conflict(&api(409, "Conflict")) && !is_already_exists(&api(409, "Conflict")));
    }

    #[test]
    fn a_namespace_that_is_being_deleted_is_nobodys_fault() {
        let cause = serde_json::json!({"reason": "NamespaceTerminating", "field": "metadata.namespace"});
        let details = serde_json::from_value(serde_json::json!({"causes": [cause]})).unwrap();
        let ending =
            kube::Error::Api(Status::failure("gone soon", "Forbidden").with_code(403).with_details(details).boxed());
        assert!(is_namespace_ending(&ending));
        let error = IoError::Refused {
            doing: "apply",
            object: ObjectRef::new("Deployment", "media", "a-0"),
            source: Box::new(ending),
        };
        assert_eq!((error.category(), error.reason()), (Category::Retry, "NamespaceTerminating"));
    }
}
