//! A handful of packets to the echo peer, and which of them came back. Sans-IO.

use std::time::{Duration, Instant};

use super::pace::Pace;

/// Of a packet's payload: that of a 20 ms packet of Opus with its RTP header.
const LENGTH: usize = 100;
const TOKEN: usize = 8;
/// Waited for the others once one is back, in its round trips: what comes later than that is as good as lost to a call.
const PATIENCE: u32 = 3;

/// One packet.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Instant,
    rtt: Option<Duration>,
}

/// The packets of one probe.
#[derive(Debug)]
pub struct Burst {
    /// Tells ours from anybody else's.
    token: [u8; TOKEN],
    wanted: u16,
    packets: Vec<Packet>,
    spacing: Duration,
    echo: Duration,
    /// Whatever is back then is all.
    over_at: Instant,
    next_at: Instant,
}

impl Burst {
    /// `wanted` packets from `now` on, at least one; it is over at `over_at` at the latest.
    pub fn new(token: [u8; TOKEN], wanted: u16, pace: Pace, now: Instant, over_at: Instant) -> Self {
        let Pace { spacing, echo, .. } = pace;
        Self { token, wanted: wanted.max(1), packets: Vec::new(), spacing, echo, over_at, next_at: now }
    }

    /// The packet that is due, if one is.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.packets.len() >= usize::from(self.wanted) || now < self.next_at || now >= self.over_at {
            return None;
        }
        let number = u16::try_from(self.packets.len()).unwrap_or(u16::MAX);
        self.packets.push(Packet { sent: now, rtt: None });
        self.next_at = now + self.spacing;
        if self.packets.len() == usize::from(self.wanted) {
            self.over_at = self.over_at.min(now + self.echo);
        }
        let mut payload = [&self.token[..], &number.to_be_bytes()].concat();
        payload.resize(LENGTH, 0);
        Some(payload)
    }

    /// Whether this is one of ours.
    pub fn is_ours(&self, payload: &[u8]) -> bool {
        self.number(payload).is_some()
    }

    fn number(&self, payload: &[u8]) -> Option<usize> {
        let (token, rest) = payload.split_first_chunk::<TOKEN>()?;
        let (number, _) = rest.split_first_chunk::<2>()?;
        let number = usize::from(u16::from_be_bytes(*number));
        (*token == self.token && payload.len() == LENGTH && number < self.packets.len()).then_some(number)
    }

    /// What came back. Other packets than ours, and duplicates, change nothing.
    pub fn handle_back(&mut self, now: Instant, payload: &[u8]) {
        let Some(packet) = self.number(payload).and_then(|number| self.packets.get_mut(number)) else { return };
        if packet.rtt.is_some() {
            return;
        }
        let rtt = now.saturating_duration_since(packet.sent);
        packet.rtt = Some(rtt);
        if self.packets.len() == usize::from(self.wanted) {
            let last = self.packets.last().map_or(now, |packet| packet.sent);
            self.over_at = self.over_at.min((last + rtt * PATIENCE + self.spacing).max(now));
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        let more = self.packets.len() < usize::from(self.wanted);
        if more { self.next_at.min(self.over_at) } else { self.over_at }
    }

    /// Whether there is nothing to wait for any more.
    pub fn is_over(&self, now: Instant) -> bool {
        let complete = self.packets.len() == usize::from(self.wanted) && self.packets.iter().all(|p| p.rtt.is_some());
        complete || now >= self.over_at
    }

    pub fn sent(&self) -> u32 {
        u32::try_from(self.packets.len()).unwrap_or(u32::MAX)
    }

    /// Of those that came back.
    pub fn rtts(&self) -> Vec<Duration> {
        self.packets.iter().filter_map(|packet| packet.rtt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn burst(wanted: u16) -> (Burst, Instant) {
        let now = Instant::now();
        (Burst::new([7; TOKEN], wanted, Pace::of(1000 * MS), now, now + 700 * MS), now)
    }

    #[test]
    fn packets_are_spaced_and_it_ends_when_all_are_back() {
        let (mut burst, start) = burst(2);
        let first = burst.poll_packet(start).unwrap();
        assert_eq!(burst.poll_packet(start), None);
        assert_eq!(burst.poll_timeout(), start + 20 * MS);
        let second = burst.poll_packet(start + 20 * MS).unwrap();
        burst.handle_back(start + 30 * MS, &first);
        burst.handle_back(start + 31 * MS, &first);
        assert!(!burst.is_over(start + 31 * MS));
        burst.handle_back(start + 40 * MS, &second);
        assert!(burst.is_over(start + 40 * MS));
        assert_eq!((burst.sent(), burst.rtts()), (2, vec![30 * MS, 20 * MS]));
    }

    #[test]
    fn once_one_is_back_the_lost_ones_are_waited_for_three_round_trips_and_without_any_longer() {
        let (mut one, start) = burst(2);
        let first = one.poll_packet(start).unwrap();
        one.poll_packet(start + 20 * MS).unwrap();
        assert_eq!(one.poll_timeout(), start + 420 * MS);
        one.handle_back(start + 30 * MS, &first);
        assert_eq!(one.poll_timeout(), start + 130 * MS);
        assert!(!one.is_over(start + 129 * MS) && one.is_over(start + 130 * MS));
    }

    #[test]
    fn packets_of_others_are_not_taken_for_ours() {
        let (mut burst, start) = burst(1);
        let ours = burst.poll_packet(start).unwrap();
        let mut beyond = ours.clone();
        beyond[TOKEN + 1] = 1;
        for other in [&[][..], &[7; TOKEN], &ours[..50], &[0; LENGTH], &beyond] {
            assert!(!burst.is_ours(other), "{other:?}");
            burst.handle_back(start + MS, other);
        }
        assert!(burst.rtts().is_empty());
    }
}
