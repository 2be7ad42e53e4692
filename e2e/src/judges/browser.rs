//! Chromium: two people who may use relayed candidates only call each other with video and data.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::{Server, Transport, python};
use crate::{
    netns::Netns,
    scenario::{HOST, SECRET},
};

/// Messages there and back.
const MESSAGES: u32 = 20;
/// Decoded pictures on each side: a second of them and more.
const FRAMES: u32 = 30;
/// From the first page to the last frame. It takes three seconds where nothing else runs.
const LONGEST: Duration = Duration::from_secs(30);
/// Within this a call that cannot succeed is given up: a multiple of what one that can needs.
const HOPELESS: Duration = Duration::from_secs(12);
/// For the browser's own start and end.
const MARGIN: Duration = Duration::from_secs(40);

/// What the pages say of a call.
#[derive(Debug, Deserialize)]
struct Told {
    /// All messages came back, and both sides saw the video.
    complete: bool,
    callers: [Caller; 2],
    /// All of it, with the errors that the browser gives for each server.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Caller {
    state: String,
    echoed: u32,
    frames_decoded: u32,
    /// The chosen way, if there is one.
    local: Option<Candidate>,
    remote: Option<Candidate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(rename = "type")]
    kind: String,
    relay_protocol: Option<String>,
    url: Option<String>,
}

/// Calls from `netns` with all of `offered` to choose from, and demands that it goes over `expected`.
pub async fn goes_over(netns: &Netns, offered: &[Server], expected: &Server) -> Result<()> {
    let told = call(netns, offered, LONGEST).await?;
    ensure!(told.complete, "not within {LONGEST:?}: {}", told.text);
    for caller in &told.callers {
        let (local, remote) = caller.local.as_ref().zip(caller.remote.as_ref()).with_context(|| told.text.clone())?;
        let relayed = [local, remote].iter().all(|candidate| candidate.kind == "relay");
        let as_expected = local.relay_protocol.as_deref() == Some(expected.transport.text())
            && local.url.as_deref() == Some(&url(expected));
        ensure!(relayed && as_expected, "it goes over {local:?}, not {}: {}", url(expected), told.text);
    }
    Ok(())
}

/// Calls from `netns`, and demands that nobody reaches anybody.
pub async fn fails(netns: &Netns, offered: &[Server]) -> Result<()> {
    let told = call(netns, offered, HOPELESS).await?;
    let silent = |caller: &Caller| {
        caller.local.is_none() && (caller.echoed, caller.frames_decoded) == (0, 0) && caller.state != "connected"
    };
    ensure!(!told.complete && told.callers.iter().all(silent), "the call succeeds: {}", told.text);
    Ok(())
}

async fn call(netns: &Netns, offered: &[Server], limit: Duration) -> Result<Told> {
    let address: SocketAddr = offered.first().context("no server is offered")?.address;
    ensure!(offered.iter().all(|server| server.address.ip() == address.ip()), "{HOST} has one address in a call");
    let task = json!({
        "host": HOST, "address": address.ip(), "urls": offered.iter().map(url).collect::<Vec<_>>(), "secret": SECRET,
        "authority": offered.iter().find_map(|server| server.transport.authority()),
        "messages": MESSAGES, "frames": FRAMES, "limit": limit.as_secs(),
    });
    let finished = netns.feed(&python("browser_call.py")?, &task.to_string(), limit + MARGIN).await?;
    ensure!(finished.succeeded(), "the browser's driver ended with {:?}: {}", finished.code, finished.stderr);
    let told: Told = serde_json::from_str(&finished.stdout).with_context(|| finished.stdout.clone())?;
    Ok(Told { text: finished.stdout, ..told })
}

/// RFC 7065.
fn url(server: &Server) -> String {
    let port = server.address.port();
    match server.transport {
        Transport::Udp => format!("turn:{HOST}:{port}?transport=udp"),
        Transport::Tcp => format!("turn:{HOST}:{port}?transport=tcp"),
        Transport::Tls(_) => format!("turns:{HOST}:{port}?transport=tcp"),
    }
}
