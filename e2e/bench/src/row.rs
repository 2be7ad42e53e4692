//! The rows of the table: which load is measured.

use std::fmt;

/// Between the client and the server. Between the server and the peer it is always UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// How data is wrapped between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Channel data (RFC 8656 section 12).
    Channel,
    /// Send and Data indications (RFC 8656 section 11).
    Indication,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToPeer,
    ToClient,
    Both,
}

/// One load: `name()` is what it is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub transport: Transport,
    pub framing: Framing,
    pub direction: Direction,
    /// Live allocations, served in turn.
    pub allocations: usize,
    /// Packets in a row for one allocation, given to the kernel as one with `UDP_SEGMENT`, or as one write to a stream.
    pub burst: usize,
}

const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];
const FRAMINGS: [Framing; 2] = [Framing::Channel, Framing::Indication];
const DIRECTIONS: [Direction; 3] = [Direction::ToPeer, Direction::ToClient, Direction::Both];
const ALLOCATIONS: [usize; 3] = [1, 50, 500];
const BURSTS: [usize; 3] = [1, 4, 16];

impl Row {
    pub fn all() -> impl Iterator<Item = Self> {
        TRANSPORTS.into_iter().flat_map(|transport| {
            FRAMINGS.into_iter().flat_map(move |framing| {
                DIRECTIONS.into_iter().flat_map(move |direction| {
                    ALLOCATIONS.into_iter().flat_map(move |allocations| {
                        BURSTS.into_iter().map(move |burst| Self { transport, framing, direction, allocations, burst })
                    })
                })
            })
        })
    }

    /// What is measured when nothing was chosen: channel data over UDP each way in full, the rest at 50 allocations, and over
    /// streams each way alone.
    fn usual(&self) -> bool {
        match (self.transport, self.framing, self.direction) {
            (Transport::Udp, Framing::Channel, Direction::ToPeer | Direction::ToClient) => true,
            (Transport::Udp, _, _) => self.allocations == 50 && self.burst != 4,
            (Transport::Tcp | Transport::Tls, Framing::Channel, Direction::ToPeer | Direction::ToClient) => {
                self.allocations == 50 && self.burst != 4
            }
            (Transport::Tcp | Transport::Tls, ..) => false,
        }
    }

    /// The rows that `patterns` choose: each is one part of a name or several in a row, such as `tcp`, `to-peer/50` or
    /// `50/16`. Those that choose nothing are the error.
    pub fn chosen(patterns: &[String]) -> Result<Vec<Self>, String> {
        if patterns.is_empty() {
            return Ok(Self::all().filter(Self::usual).collect());
        }
        for pattern in patterns {
            if !Self::all().any(|row| row.matches(pattern)) {
                return Err(format!("{pattern} chooses no row: write parts of a name such as {}", Self::example()));
            }
        }
        Ok(Self::all().filter(|row| patterns.iter().any(|pattern| row.matches(pattern))).collect())
    }

    fn matches(&self, pattern: &str) -> bool {
        format!("/{self}/").contains(&format!("/{}/", pattern.trim_matches('/')))
    }

    fn example() -> String {
        Self::all().next().map(|row| row.to_string()).unwrap_or_default()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let framing = match self.framing {
            Framing::Channel => "channel",
            Framing::Indication => "indication",
        };
        let direction = match self.direction {
            Direction::ToPeer => "to-peer",
            Direction::ToClient => "to-client",
            Direction::Both => "both",
        };
        write!(f, "{transport}/{framing}/{direction}/{}/{}", self.allocations, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Row::chosen(&patterns).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_is_whole_parts_of_a_name() {
        assert_eq!(chosen(&["udp/channel/to-peer/50"]).len(), 3);
        assert_eq!(chosen(&["tcp/channel/to-peer/1/1"]), ["tcp/channel/to-peer/1/1"]);
        assert_eq!(chosen(&["to-client/500/16"]).len(), 6);
    }

    #[test]
    fn a_pattern_that_chooses_nothing_is_refused() {
        assert!(Row::chosen(&["udp".to_owned(), "udp/channel/50".to_owned()]).unwrap_err().contains("udp/channel/50"));
    }

    #[test]
    fn without_a_pattern_every_transport_is_measured() {
        let usual = chosen(&[]);
        for row in ["udp/channel/to-client/500/16", "tcp/channel/to-peer/50/1", "tls/channel/to-client/50/16"] {
            assert!(usual.contains(&row.to_owned()), "{row}: {usual:?}");
        }
        assert!(usual.len() < 40, "a run should end while somebody waits: {usual:?}");
    }
}
