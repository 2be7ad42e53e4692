//! Do all servers tell callers the same?

use std::fmt;

use super::{Addresses, Answer, PublishError, RecordSet};

/// What one server answers.
#[derive(Debug)]
pub struct ServerAnswer {
    /// As configured, or by the name in the zone's NS record.
    pub server: String,
    /// Of the zone's SOA record.
    pub serial: Option<u32>,
    pub answer: Result<Answer, PublishError>,
}

/// Servers, or those who speak for them, against the wanted answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Servers that tell the wanted addresses.
    pub agree: Vec<String>,
    /// Servers that do not, or cannot be asked.
    pub lag: Vec<(String, Lag)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Something else, usually what was there before: it has not yet transferred the zone.
    Tells(Addresses),
    /// What the error says.
    Silent(String),
    /// It has not been told yet, or has not looked: a sentence.
    Behind(String),
}

impl Agreement {
    /// The TTL does not count where the addresses are the same: a cache that hides it gives a lower one.
    pub fn of(wanted: &RecordSet, answers: &[ServerAnswer]) -> Self {
        let mut all = Self::default();
        for ServerAnswer { server, serial: _, answer } in answers {
            let wanted = wanted.addresses();
            match answer {
                Ok(Answer { addresses, owner: _ })
                    if addresses.ipv4 == wanted.ipv4 && addresses.ipv6 == wanted.ipv6 =>
                {
                    all.agree.push(server.clone());
                }
                Ok(Answer { addresses, owner: _ }) => {
                    all.lag.push((server.clone(), Lag::Tells(addresses.clone())));
                }
                Err(error) => all.lag.push((server.clone(), Lag::Silent(error.to_string()))),
            }
        }
        all
    }

    /// Nobody who agrees is no agreement.
    pub fn is_complete(&self) -> bool {
        self.lag.is_empty() && !self.agree.is_empty()
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tells(addresses) => write!(f, "tells {addresses}"),
            Self::Silent(why) | Self::Behind(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Owner, Ownership, Ttl};

    fn answer(server: &str, addresses: &[&str]) -> ServerAnswer {
        let addresses = Addresses::new(20, addresses.iter().map(|text| text.parse().unwrap()));
        ServerAnswer {
            server: server.into(),
            serial: Some(1),
            answer: Ok(Answer { addresses, owner: Ownership::Nobody }),
        }
    }

    #[test]
    fn servers_agree_when_each_tells_the_wanted_addresses_and_nothing_else() {
        let owner = Owner::new("a", "b", "c").unwrap();
        let wanted = ["192.0.2.1", "2001:db8::1"];
        let addresses = wanted.map(|text| text.parse().unwrap());
        let set = RecordSet::new("turn.example.org".parse().unwrap(), owner, Ttl::new(30).unwrap(), addresses).unwrap();
        let silent = || ServerAnswer {
            server: "silent".into(),
            serial: None,
            answer: Err(PublishError::NoAnswer { server: "silent".into(), seconds: 3 }),
        };
        for (case, answers, lag, complete) in [
            ("all tell it", vec![answer("a", &wanted), answer("b", &wanted)], vec![], true),
            ("no server", vec![], vec![], false),
            ("one has the old address", vec![answer("a", &wanted), answer("b", &["192.0.2.9"])], vec!["b"], false),
            ("one lacks a family", vec![answer("a", &wanted[..1])], vec!["a"], false),
            ("one has one more", vec![answer("a", &["192.0.2.1", "192.0.2.2", "2001:db8::1"])], vec!["a"], false),
            ("one has none", vec![answer("a", &wanted), answer("b", &[])], vec!["b"], false),
            ("one is silent", vec![answer("a", &wanted), silent()], vec!["silent"], false),
        ] {
            let got = Agreement::of(&set, &answers);
            let behind: Vec<&str> = got.lag.iter().map(|(server, _)| server.as_str()).collect();
            assert_eq!((behind, got.is_complete()), (lag, complete), "{case}");
        }
    }
}
