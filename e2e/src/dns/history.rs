//! What a watcher saw: each change of what a server says, and how often it was asked. The lines that it tells it in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail, ensure};
use hickory_proto::op::{Message, ResponseCode};

use crate::monotonic::Moment;

/// What a server says about a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Never none.
    Addresses(BTreeSet<IpAddr>),
    /// The name is there, and has no address.
    Empty,
    NoSuchName,
    /// Any other code, or an answer that does not fit.
    Failed(String),
    /// Within [`super::PATIENCE`].
    None,
}

impl Answer {
    pub fn of(message: &Message) -> Self {
        match message.response_code {
            _ if message.truncation => Self::Failed("truncated".to_owned()),
            ResponseCode::NoError => {
                let addresses: BTreeSet<IpAddr> =
                    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
                if addresses.is_empty() { Self::Empty } else { Self::Addresses(addresses) }
            }
            ResponseCode::NXDomain => Self::NoSuchName,
            code => Self::Failed(format!("code-{}", u16::from(code))),
        }
    }

    /// What a caller learns from it: none, one or more, or nothing at all.
    pub fn addresses(&self) -> Option<BTreeSet<IpAddr>> {
        match self {
            Self::Addresses(addresses) => Some(addresses.clone()),
            Self::Empty | Self::NoSuchName => Some(BTreeSet::new()),
            Self::Failed(_) | Self::None => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(addresses) => {
                let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
            Self::Empty => f.write_str("empty"),
            Self::NoSuchName => f.write_str("nxdomain"),
            Self::Failed(why) => write!(f, "failed:{why}"),
            Self::None => f.write_str("no-answer"),
        }
    }
}

impl FromStr for Answer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "empty" => Ok(Self::Empty),
            "nxdomain" => Ok(Self::NoSuchName),
            "no-answer" => Ok(Self::None),
            _ => match text.strip_prefix("failed:") {
                Some(why) => Ok(Self::Failed(why.to_owned())),
                None => Ok(Self::Addresses(text.split(',').map(str::parse).collect::<Result<_, _>>()?)),
            },
        }
    }
}

/// From `at` on a server says something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When the answer arrived, or was given up.
    pub at: Moment,
    pub server: SocketAddr,
    pub answer: Answer,
}

/// Questions to one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub asked: u64,
    pub answered: u64,
    pub unanswered: u64,
}

/// What a watcher tells. A line's instant is never before that of the line above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Seen(Seen),
    /// Everything until then has been told.
    Until(Moment),
    /// The last words about a server.
    Count(SocketAddr, Counts),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(Seen { at, server, answer }) => write!(f, "{at} {server} {answer}"),
            Self::Until(at) => write!(f, "{at}"),
            Self::Count(server, Counts { asked, answered, unanswered }) => {
                write!(f, "count {server} {asked} {answered} {unanswered}")
            }
        }
    }
}

impl FromStr for Line {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || match *text.split(' ').collect::<Vec<_>>() {
            ["count", server, asked, answered, unanswered] => {
                let counts =
                    Counts { asked: asked.parse()?, answered: answered.parse()?, unanswered: unanswered.parse()? };
                Ok(Self::Count(server.parse()?, counts))
            }
            [at, server, answer] => {
                Ok(Self::Seen(Seen { at: at.parse()?, server: server.parse()?, answer: answer.parse()? }))
            }
            [at] => Ok(Self::Until(at.parse()?)),
            _ => bail!("no such line"),
        };
        read().with_context(|| format!("a watcher says {text:?}"))
    }
}

/// All that a watcher has told so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In the order of time.
    pub seen: Vec<Seen>,
    /// Everything until then is in here.
    pub until: Option<Moment>,
    /// Only in the end.
    pub counts: BTreeMap<SocketAddr, Counts>,
}

impl History {
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Seen(seen) => {
                self.until = Some(seen.at);
                self.seen.push(seen);
            }
            Line::Until(at) => self.until = Some(at),
            Line::Count(server, counts) => {
                self.counts.insert(server, counts);
            }
        }
    }

    pub fn of(&self, server: SocketAddr) -> impl DoubleEndedIterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.server == server)
    }

    /// The first instant from `at` on at which the addresses that a server tells satisfy `holds`: `at` itself if they
    /// already do, and it is known what was told then.
    pub fn first_after(
        &self,
        at: Moment,
        server: SocketAddr,
        holds: impl Fn(&BTreeSet<IpAddr>) -> bool,
    ) -> Option<Moment> {
        let satisfies = |seen: &&Seen| seen.answer.addresses().is_some_and(|addresses| holds(&addresses));
        let before = self.of(server).rfind(|seen| seen.at <= at).filter(satisfies);
        let known = self.until.is_some_and(|until| until >= at);
        match before {
            Some(_) => known.then_some(at),
            None => self.of(server).filter(|seen| seen.at > at).find(satisfies).map(|seen| seen.at),
        }
    }

    /// The different sets of addresses that were told, by any server.
    pub fn distinct(&self) -> BTreeSet<BTreeSet<IpAddr>> {
        self.seen
            .iter()
            .filter_map(|seen| match &seen.answer {
                Answer::Addresses(addresses) => Some(addresses.clone()),
                _ => None,
            })
            .collect()
    }

    /// Once it had told addresses, no server said again that there are none. Silence is no answer.
    pub fn is_never_empty(&self, servers: &[SocketAddr]) -> Result<()> {
        self.once_told(servers, |answer| matches!(answer, Answer::Empty | Answer::NoSuchName))
    }

    /// Once it had told addresses, a server always told some.
    pub fn is_never_without_addresses(&self, servers: &[SocketAddr]) -> Result<()> {
        self.once_told(servers, |answer| !matches!(answer, Answer::Addresses(_)))
    }

    fn once_told(&self, servers: &[SocketAddr], is_bad: impl Fn(&Answer) -> bool) -> Result<()> {
        ensure!(!servers.is_empty(), "no server is looked at");
        for server in servers {
            let mut told = self.of(*server).skip_while(|seen| !matches!(seen.answer, Answer::Addresses(_)));
            ensure!(told.next().is_some(), "{server} has never told an address:\n{self}");
            if let Some(bad) = told.find(|seen| is_bad(&seen.answer)) {
                bail!("{server} said {} at {}:\n{self}", bad.answer, bad.at);
            }
        }
        Ok(())
    }
}

/// For people: milliseconds since the first line.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.seen.first().map(|seen| seen.at);
        for Seen { at, server, answer } in &self.seen {
            let after = at.since(began.unwrap_or(*at)).as_millis();
            writeln!(f, "{after:>8} ms  {server}  {answer}")?;
        }
        for (server, Counts { asked, answered, unanswered }) in &self.counts {
            writeln!(f, "{server}: {asked} questions, {answered} answered, {unanswered} not")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "127.0.0.1:53";
    const B: &str = "127.0.0.2:53";

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        for line in lines {
            history.add(line.parse().unwrap());
        }
        history
    }

    fn server(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn moment(text: &str) -> Moment {
        text.parse().unwrap()
    }

    #[test]
    fn lines_read_back() {
        for text in [
            "7 127.0.0.1:53 192.0.2.1,192.0.2.2,2001:db8::1",
            "7 [::1]:53 empty",
            "7 127.0.0.1:53 nxdomain",
            "7 127.0.0.1:53 no-answer",
            "7 127.0.0.1:53 failed:code-2",
            "8",
            "count 127.0.0.1:53 10 8 2",
        ] {
            assert_eq!(text.parse::<Line>().unwrap().to_string(), text);
        }
        for text in ["", "7 127.0.0.1:53 192.0.2.1,", "7 127.0.0.1:53", "count 127.0.0.1:53 1"] {
            assert!(text.parse::<Line>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_that_becomes_empty_is_told_of_and_silence_is_none() {
        let silent = history(&["1 127.0.0.1:53 nxdomain", "2 127.0.0.1:53 192.0.2.1", "3 127.0.0.1:53 no-answer"]);
        silent.is_never_empty(&[server(A)]).unwrap();
        silent.is_never_without_addresses(&[server(A)]).unwrap_err();
        for bad in ["empty", "nxdomain"] {
            let history = history(&["1 127.0.0.1:53 192.0.2.1", &format!("1000002 127.0.0.1:53 {bad}")]);
            let error = history.is_never_empty(&[server(A)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("127.0.0.1:53 said {bad} at 1000002:\n")), "{error}");
            assert!(error.contains(&format!("\n       1 ms  127.0.0.1:53  {bad}\n")), "{error}");
        }
    }

    #[test]
    fn a_server_that_never_told_an_address_is_no_success() {
        let history = history(&["1 127.0.0.1:53 192.0.2.1", "2 127.0.0.2:53 nxdomain"]);
        history.is_never_empty(&[server(A), server(B)]).unwrap_err();
        history.is_never_empty(&[]).unwrap_err();
    }

    #[test]
    fn the_first_answer_is_that_of_the_server_after_the_instant() {
        let history = history(&[
            "10 127.0.0.1:53 192.0.2.1",
            "20 127.0.0.2:53 192.0.2.2",
            "30 127.0.0.1:53 192.0.2.2",
            "40 127.0.0.1:53 nxdomain",
            "50 127.0.0.1:53 no-answer",
            "60",
        ]);
        let first = |at: &str, holds: &dyn Fn(&BTreeSet<IpAddr>) -> bool| {
            history.first_after(moment(at), server(A), holds).map(|found| found.to_string())
        };
        let second: IpAddr = "192.0.2.2".parse().unwrap();
        assert_eq!(first("15", &|all| all.contains(&second)).as_deref(), Some("30"));
        assert_eq!(first("35", &|all| all.contains(&second)).as_deref(), Some("35"), "it already is so");
        assert_eq!(first("5", &BTreeSet::is_empty).as_deref(), Some("40"), "no such name is an answer without any");
        assert_eq!(first("55", &BTreeSet::is_empty), None, "silence is none");
        assert_eq!(first("45", &|all| all.contains(&second)), None);
    }

    #[test]
    fn what_holds_at_an_instant_is_not_known_before_it_was_told() {
        let known = ["10 127.0.0.1:53 192.0.2.1", "20"];
        let first = |history: &History| history.first_after(moment("20"), server(A), |all| !all.is_empty());
        assert_eq!(first(&history(&known[..1])), None);
        assert_eq!(first(&history(&known)), Some(moment("20")));
    }

    #[test]
    fn distinct_answers_are_counted_once() {
        let lines = ["1 127.0.0.1:53 192.0.2.1", "2 127.0.0.2:53 192.0.2.1", "3 127.0.0.1:53 192.0.2.1,192.0.2.2"];
        let told: Vec<usize> = history(&lines).distinct().iter().map(BTreeSet::len).collect();
        assert_eq!(told, [1, 2]);
    }
}
