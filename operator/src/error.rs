//! What an error means for the one who reads it. The category decides requeue, Event type, metric label and log level.

/// Who can end an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Retrying is useless until somebody changes something: `Stalled=True`.
    UserMustAct,
    /// Passes by itself, or by our next try.
    Retry,
    /// Should not happen whatever the input; it is retried, and a person should read the log.
    Bug,
}

impl Category {
    /// The metric label and the log field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserMustAct => "user_must_act",
            Self::Retry => "retry",
            Self::Bug => "bug",
        }
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every error of a step knows its category and its reason, so that status, Event, metric and requeue agree.
pub trait Categorised: std::error::Error {
    fn category(&self) -> Category;
    /// A CamelCase constant: the condition's and the Event's reason, and a metric label. Never built from data.
    fn reason(&self) -> &'static str;
}

/// The error and its causes on one line, outermost first, without repeating a cause that its parent already prints.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("writing the Secret failed")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("asking failed: {0}")]
    struct Repeats(#[source] Inner);

    #[test]
    fn a_cause_is_printed_once_even_when_its_parent_prints_it_too() {
        assert_eq!(with_causes(&Outer(Inner)), "writing the Secret failed: connection refused");
        assert_eq!(with_causes(&Repeats(Inner)), "asking failed: connection refused");
    }
}
