//! How messages of the probe's clients travel, and when they are sent again (RFC 8489 section 6.2).

use std::{io, time::Duration};

use tokio::time::timeout;

use super::{
    client::{Answer, Request, read},
    session::Exchange,
};

/// One client's way to the node.
pub trait Line: Send {
    /// Whether messages may be lost, so that requests are sent again: not over TCP (section 6.2.2).
    const LOSSY: bool;

    fn send(&mut self, message: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// The next message. Nothing is lost when nobody waits for it any more.
    fn hear(&mut self) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

/// Requests over a line, each sent again after each of `waits` but the last.
pub struct Requests<L> {
    pub line: L,
    pub waits: &'static [Duration],
}

impl<L: Line> Exchange for Requests<L> {
    async fn ask(&mut self, request: &Request) -> Option<Answer> {
        let once = [self.waits.iter().sum()];
        for wait in if L::LOSSY { self.waits } else { &once } {
            self.line.send(&request.bytes).await.ok()?;
            let answer = until(&mut self.line, |message| read(message, request.transaction));
            if let Ok(answer) = timeout(*wait, answer).await {
                // An error is an ICMP message, or the end of a connection: nobody listens.
                return answer.ok();
            }
        }
        None
    }
}

/// What `wanted` makes of the first message that it makes something of.
pub async fn until<T>(line: &mut impl Line, wanted: impl Fn(&[u8]) -> Option<T> + Send) -> io::Result<T> {
    loop {
        if let Some(found) = wanted(&line.hear().await?) {
            return Ok(found);
        }
    }
}
