//! A decision with its inputs, for Events, the log and `operator explain`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What is done: `withdraw`, `return`, `step`, `hold`, `freeze`, `pin`. A metric label, hence constant.
    pub kind: &'static str,
    /// Why, as a CamelCase constant.
    pub reason: &'static str,
    pub region: Option<String>,
    /// One sentence, without times and figures that move.
    pub message: String,
    pub inputs: Value,
    /// It changes the answer, or keeps it from being changed; anything else is for `operator explain` alone.
    pub is_event: bool,
}
