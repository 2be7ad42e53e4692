//! A steady stream through a relay: 50 numbered packets a second to a peer that sends each one back. Light as audio is, or
//! heavy as video.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{net::UdpSocket, sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    turn::{Allocation, Credentials, channel_data, payload_of},
    wait,
};

/// Between two packets, as of an audio track.
const PACE: Duration = Duration::from_millis(20);
/// How late a packet may come back before it counts as lost: far more than a busy machine needs.
const LATEST: Duration = Duration::from_secs(10);
/// The permission of the peer ends after 5 minutes: one may be lost, and one refused because the nonce has ended.
const RENEWED_EVERY: Duration = Duration::from_secs(90);
/// The last request, with all its tries, and once more with another nonce.
const ENDS_WITHIN: Duration = Duration::from_secs(25);
/// Longer than any scenario needs one.
const LONGEST: Duration = Duration::from_mins(20);
const CHANNEL: u16 = 0x4000;

/// A stream that runs until [`Stream::end`]. Dropping it stops the packets and leaves the allocation behind.
pub struct Stream {
    relay: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

/// What became of each packet; the index is its number.
#[derive(Default)]
struct Seen {
    began: Option<Instant>,
    reached_peer: Vec<bool>,
    came_back: Vec<bool>,
}

impl Stream {
    /// Payload of an audio-like stream, bytes: a number.
    pub const LIGHT: usize = 8;
    /// Payload of a video-like stream, bytes: 0.46 Mbit/s each way between client and relay, and as much between relay and
    /// peer, Ethernet headers counted.
    pub const HEAVY: usize = 1100;

    /// Allocates on `relay`, with a peer on `outside`, and starts sending packets of `payload` bytes.
    pub async fn start(
        relay: SocketAddr,
        outside: SocketAddr,
        credentials: &Credentials,
        payload: usize,
    ) -> Result<Self> {
        let peer = UdpSocket::bind(outside).await.with_context(|| format!("no peer on {outside}"))?;
        let mut allocation = Allocation::new(relay, credentials).await?;
        allocation.bind(CHANNEL, peer.local_addr()?).await?;
        let seen = Arc::new(Mutex::new(Seen { began: Some(Instant::now()), ..Seen::default() }));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(allocation, peer, payload, seen.clone(), stopped));
        let stream = Self { relay, seen, stop: Some(stop), task };
        stream.is_whole().await?;
        Ok(stream)
    }

    /// Every packet that was sent before this call has reached the peer and come back.
    pub async fn is_whole(&self) -> Result<()> {
        // At least one packet more than now: a stream that has stopped is not whole.
        let until = self.sent() + 1;
        let what = format!("packets 0 to {until} through {} reach the peer and come back", self.relay);
        wait::until(&what, LATEST, async || {
            let seen = lock(&self.seen);
            ensure!(seen.came_back.len() >= until, "only {} were sent", seen.came_back.len());
            let lost = |side: &[bool]| side[..until].iter().filter(|arrived| !**arrived).count();
            let (there, back) = (lost(&seen.reached_peer), lost(&seen.came_back));
            ensure!(there + back == 0, "{}", seen.loss(until, there, back));
            Ok(())
        })
        .await
    }

    /// Stops sending, checks that nothing was lost, and gives the allocation back.
    pub async fn end(mut self) -> Result<()> {
        let whole = self.is_whole().await;
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // The task has ended by itself: its own error says why.
        }
        let ended = timeout(ENDS_WITHIN, &mut self.task).await.context("the stream does not stop")??;
        whole.and(ended)
    }

    fn sent(&self) -> usize {
        lock(&self.seen).came_back.len()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn loss(&self, until: usize, there: usize, back: usize) -> String {
        let first = self.came_back[..until].iter().position(|arrived| !arrived).unwrap_or(until);
        let after = PACE * u32::try_from(first).unwrap_or(u32::MAX);
        let last = self.came_back[..until].iter().rposition(|arrived| !arrived).unwrap_or(first);
        let running = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        format!(
            "{there} of {until} packets did not reach the peer, {back} did not come back: the first is {first} ({after:?} after the start), the last {last}; the stream has run for {running:.1?}"
        )
    }
}

/// Sends, answers as the peer, and receives, in one task: the order of packets is that of the network.
async fn run(
    mut allocation: Allocation,
    peer: UdpSocket,
    payload: usize,
    seen: Arc<Mutex<Seen>>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let mut pace = tokio::time::interval(PACE);
    let mut renewal = tokio::time::interval(RENEWED_EVERY);
    renewal.tick().await; // The first is at once.
    let outside = peer.local_addr()?;
    let (mut from_relay, mut at_peer) = ([0; 2048], [0; 2048]);
    let end = Instant::now() + LONGEST;
    loop {
        tokio::select! {
            _ = pace.tick() => {
                if Instant::now() >= end {
                    bail!("a stream may run for {LONGEST:?}");
                }
                let number = {
                    let mut seen = lock(&seen);
                    seen.reached_peer.push(false);
                    seen.came_back.push(false);
                    seen.came_back.len() - 1
                };
                // A relay that is gone answers with ICMP, which is an error here: the packet counts as lost.
                let mut packet = vec![0; payload.max(Stream::LIGHT)];
                packet[..Stream::LIGHT].copy_from_slice(&(number as u64).to_be_bytes());
                let _ = allocation.socket.send(&channel_data(CHANNEL, &packet)?).await;
            }
            // As above: what is lost is asked for again.
            _ = renewal.tick() => drop(allocation.renew(CHANNEL, outside).await),
            received = peer.recv_from(&mut at_peer) => {
                let Ok((length, from)) = received else { continue };
                if let Some(number) = number_in(&at_peer[..length]) {
                    mark(&mut lock(&seen).reached_peer, number);
                }
                let _ = peer.send_to(&at_peer[..length], from).await;
            }
            received = allocation.socket.recv(&mut from_relay) => {
                let Ok(length) = received else { continue };
                allocation.hears(&from_relay[..length]);
                if let Some(number) = payload_of(CHANNEL, &from_relay[..length]).and_then(number_in) {
                    mark(&mut lock(&seen).came_back, number);
                }
            }
            _ = &mut stopped => return allocation.end().await,
        }
    }
}

fn number_in(payload: &[u8]) -> Option<usize> {
    usize::try_from(u64::from_be_bytes(*payload.first_chunk()?)).ok()
}

fn mark(arrived: &mut [bool], number: usize) {
    if let Some(arrived) = arrived.get_mut(number) {
        *arrived = true;
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_says_how_much_and_when() {
        let seen = Seen {
            began: None,
            reached_peer: vec![true, true, false, true],
            came_back: vec![true, false, false, true],
        };
        let text = seen.loss(4, 1, 2);
        for part in
            ["1 of 4 packets did not reach the peer", "2 did not come back", "the first is 1 (20ms", "the last 2"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
