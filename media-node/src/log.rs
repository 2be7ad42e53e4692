//! Log lines on stderr: INFO a decision, WARN we cope, ERROR a person must act.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Call once, before the first line.
pub fn start(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let format = format.unwrap_or(if terminal { LogFormat::Plain } else { LogFormat::Json });
    match format {
        LogFormat::Plain => lines.with_ansi(terminal).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}
