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

/// Every mistake of one object; never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes<E>(pub Vec<E>);

impl<E: std::fmt::Display> std::fmt::Display for Mistakes<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl<E: std::fmt::Debug + std::fmt::Display> std::error::Error for Mistakes<E> {}

impl<E: Categorised> Categorised for Mistakes<E> {
    fn category(&self) -> Category {
        let bug = self.0.iter().any(|mistake| mistake.category() == Category::Bug);
        if bug { Category::Bug } else { Category::UserMustAct }
    }

    fn reason(&self) -> &'static str {
        self.0.first().map_or("InvalidSpec", Categorised::reason)
    }
}

/// The error and its causes on one line, outermost first, without repeating a cause that its parent already prints.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = words(error);
    let mut cause = cause(error);
    while let Some(error) = cause {
        let text = words(error);
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = self::cause(error);
    }
    line
}

/// kube prints an answer of the API server twice, once as Debug; people need its message.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match refusal(error) {
        Some(status) => format!("{} ({})", status.message, status.code),
        None => error.to_string(),
    }
}

fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a (dyn std::error::Error + 'static)> {
    if refusal(error).is_some() { None } else { error.source() }
}

/// A boxed source is an error of the box's type.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::core::Status> {
    let error = error.downcast_ref().or_else(|| error.downcast_ref::<Box<kube::Error>>().map(|boxed| &**boxed))?;
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
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

    #[derive(Debug, thiserror::Error)]
    #[error("reading the Lease failed")]
    struct Boxed(#[source] Box<kube::Error>);

    #[test]
    fn an_answer_of_the_api_server_is_told_in_its_own_words_and_once() {
        let status = kube::core::Status::failure("pods \"a\" not found", "NotFound").with_code(404);
        let error = Boxed(Box::new(kube::Error::Api(status.boxed())));
        assert_eq!(with_causes(&error), "reading the Lease failed: pods \"a\" not found (404)");
    }
}
