//! One round: ask for an allocation, then for peers that must be refused, and give the allocation back.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    client::{Ask, Client},
    session::{Exchange, Failure, Session, refused},
};

/// A machine's own answers take microseconds, unless its queues are full.
pub const WAITS: [Duration; 3] = [Duration::from_millis(200); 3];
/// With both families a round of this machine stays below 2 s.
pub const HERE: Patience = Patience { asking: Duration::from_millis(700), closing: Duration::from_millis(250) };
/// RFC 8656 section 12.
const FIRST_CHANNEL: u16 = 0x4000;

const FORBIDDEN: u16 = 403;

/// How long a round may take in one family.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For everything that is asked for.
    pub asking: Duration,
    pub closing: Duration,
}

/// What is asked for in one family.
#[derive(Clone, Debug)]
pub struct Questions {
    pub v6: bool,
    pub peers: Vec<IpAddr>,
    pub services: Vec<SocketAddr>,
}

/// Those that were granted.
pub async fn round(
    exchange: &mut (impl Exchange + Send),
    client: Client,
    questions: &Questions,
    patience: Patience,
) -> Result<Vec<SocketAddr>, Failure> {
    let mut session = Session { exchange, client };
    let granted = timeout(patience.asking, session.ask_all(questions)).await.unwrap_or(Err(Failure::NoAnswer));
    // Also after a failure: the answer to Allocate may have been lost, and the allocation would stay for ten minutes.
    let closed = timeout(patience.closing, session.close()).await.unwrap_or(Err(Failure::NoAnswer));
    granted.and_then(|granted| closed.map(|()| granted))
}

impl<E: Exchange> Session<'_, E> {
    async fn ask_all(&mut self, questions: &Questions) -> Result<Vec<SocketAddr>, Failure> {
        self.allocate(questions.v6).await?;
        let mut granted = Vec::new();
        for peer in &questions.peers {
            if self.is_granted(Ask::Permission(*peer)).await? {
                granted.push(SocketAddr::new(*peer, 0));
            }
        }
        for (number, peer) in (FIRST_CHANNEL..).zip(&questions.services) {
            if self.is_granted(Ask::Channel { number, peer: *peer }).await? {
                granted.push(*peer);
            }
        }
        Ok(granted)
    }

    async fn is_granted(&mut self, ask: Ask) -> Result<bool, Failure> {
        judge(ask, self.ask(ask).await?.code)
    }
}

/// Whether the answer to `ask` grants what must be refused. Any other error than 403 says nothing about the peer, and
/// must not pass for a refusal.
fn judge(ask: Ask, code: u16) -> Result<bool, Failure> {
    match code {
        0 => Ok(true),
        FORBIDDEN => Ok(false),
        code => Err(refused(ask, code)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::turn::{
        probe::{
            client::{self, Answer, Request},
            forbidden::Ground,
        },
        proto::{
            ClientPath, PeerPolicy, RelayAddress, Secret,
            message::Message,
            test_support::{Heard, SECRET, World},
        },
    };

    /// Says what it was told to say, and notes what it was asked.
    struct Script {
        answers: VecDeque<Option<u16>>,
        asked: Vec<u16>,
    }

    impl Exchange for Script {
        async fn ask(&mut self, request: &Request) -> Option<Answer> {
            let message = Message::decode(&request.bytes).unwrap();
            self.asked.push(message.method());
            let code = self.answers.pop_front().expect("no further question")?;
            Some(Answer { code, relayed: None, mapped: None, challenge: (code == 401).then(challenge) })
        }
    }

    fn challenge() -> client::Challenge {
        let mut world = World::new();
        let mut stranger = world.stranger("x");
        let draft = stranger.allocate();
        let transaction = draft.transaction;
        let Heard::Reply(answer) = world.hear(&stranger.path, &draft.bare()) else { panic!("a challenge") };
        client::read(&answer.0, transaction).and_then(|answer| answer.challenge).expect("a challenge")
    }

    fn probe_client() -> Client {
        // Secret and time of `World`.
        Client::new("x", &Secret::new(SECRET).unwrap(), 1_800_000_000)
    }

    fn questions() -> Questions {
        Questions {
            v6: false,
            peers: vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            services: vec!["203.0.113.7:3478".parse().unwrap()],
        }
    }

    /// Granted, and the methods asked.
    async fn play(answers: &[Option<u16>]) -> (Result<Vec<String>, Failure>, Vec<u16>) {
        let mut script = Script { answers: answers.iter().copied().collect(), asked: Vec::new() };
        let granted = round(&mut script, probe_client(), &questions(), HERE).await;
        (granted.map(|granted| granted.iter().map(ToString::to_string).collect()), script.asked)
    }

    #[tokio::test]
    async fn what_is_granted_and_must_not_be_is_found_and_the_allocation_given_back() {
        let asked_all = vec![3, 3, 8, 8, 9, 4];
        let all_refused = [Some(401), Some(0), Some(403), Some(403), Some(403), Some(0)];
        assert_eq!(play(&all_refused).await, (Ok(vec![]), asked_all.clone()));
        let a_peer = [Some(401), Some(0), Some(403), Some(0), Some(403), Some(0)];
        assert_eq!(play(&a_peer).await, (Ok(vec!["10.0.0.1:0".to_owned()]), asked_all.clone()));
        let a_service = [Some(401), Some(0), Some(403), Some(403), Some(0), Some(0)];
        assert_eq!(play(&a_service).await, (Ok(vec!["203.0.113.7:3478".to_owned()]), asked_all));
    }

    #[tokio::test]
    async fn a_round_that_could_not_be_carried_out_says_so_and_not_that_all_is_well() {
        for (case, answers, expected) in [
            ("nobody there", vec![None], Failure::NoAnswer),
            ("no challenge", vec![Some(400)], Failure::Refused { ask: "Allocate", code: 400 }),
            ("full", vec![Some(401), Some(508), Some(437)], Failure::Refused { ask: "Allocate", code: 508 }),
            ("silent in the middle", vec![Some(401), Some(0), Some(403), None, Some(0)], Failure::NoAnswer),
            (
                "an error that judges no peer",
                vec![Some(401), Some(0), Some(437), Some(437)],
                Failure::Refused { ask: "CreatePermission", code: 437 },
            ),
            (
                "an allocation that stays",
                vec![Some(401), Some(0), Some(403), Some(403), Some(403), Some(438)],
                Failure::Refused { ask: "Refresh", code: 438 },
            ),
        ] {
            let (granted, asked) = play(&answers).await;
            assert_eq!(granted, Err(expected), "{case}");
            assert_eq!(asked.len(), answers.len(), "{case}: {asked:?}");
        }
    }

    /// The node's own core, without sockets.
    struct Direct {
        world: World,
        path: ClientPath,
    }

    impl Exchange for Direct {
        async fn ask(&mut self, request: &Request) -> Option<Answer> {
            match self.world.hear(&self.path, &request.bytes) {
                Heard::Reply(answer) => client::read(&answer.0, request.transaction),
                Heard::Nothing | Heard::AtPeer { .. } => None,
            }
        }
    }

    /// A round in both families against a node with these rules, as judged by somebody who knows of no exception.
    async fn strict_round(rules: PeerPolicy) -> (Vec<SocketAddr>, Vec<IpAddr>) {
        let mut world = World::with(|config| config.terms.peers = rules);
        let path = world.stranger("x").path;
        let relays: Vec<RelayAddress> = world.config.relays.iter().collect();
        let ground = Ground {
            allow: Vec::new(),
            deny: Vec::new(),
            relays: relays.clone(),
            services: vec![path.local, "127.0.0.1:9090".parse().unwrap()],
        };
        let mut direct = Direct { world, path };
        let (mut granted, mut asked) = (Vec::new(), Vec::new());
        for relay in relays {
            let peers = ground.peers(relay, &[]);
            asked.extend(&peers);
            let questions = Questions { v6: relay.public.is_ipv6(), peers, services: ground.services(relay) };
            granted.extend(round(&mut direct, probe_client(), &questions, HERE).await.unwrap());
        }
        let [allocations, sockets, ..] = direct.world.held();
        assert_eq!((allocations, sockets), (0, 0), "nothing stays behind");
        (granted, asked)
    }

    #[tokio::test]
    async fn the_core_refuses_all_that_is_asked_for() {
        assert_eq!(strict_round(PeerPolicy::default()).await.0, []);
    }

    #[tokio::test]
    async fn a_core_that_grants_everything_is_found_out_in_every_form() {
        let everything = PeerPolicy::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], vec![]);
        let (granted, asked) = strict_round(everything).await;
        let granted: Vec<IpAddr> = granted.iter().map(SocketAddr::ip).collect();
        // Even that core keeps the unspecified and its own addresses closed.
        let closed = ["0.0.0.0", "::", "::ffff:203.0.113.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let expected: Vec<_> = asked.into_iter().filter(|peer| !closed.contains(peer)).collect();
        assert_eq!(granted, expected);
    }
}
