//! A client's part of a round: what it asks, one after the other, and what it is answered.

use std::net::SocketAddr;

use super::client::{Answer, Ask, Client, Request};

const UNAUTHENTICATED: u16 = 401;
const ALLOCATION_MISMATCH: u16 = 437;

/// Takes a request to the server and its answer back.
pub trait Exchange {
    /// None: there was no answer in time, or nobody listens.
    fn ask(&mut self, request: &Request) -> impl Future<Output = Option<Answer>> + Send;
}

/// Why a round was not carried out as it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("there was no answer in time")]
    NoAnswer,
    /// What was to be granted, or an answer that says nothing of what was asked.
    #[error("the node answered {ask} with {code}")]
    Refused { ask: &'static str, code: u16 },
}

/// One client of a round.
pub struct Session<'e, E> {
    pub exchange: &'e mut E,
    pub client: Client,
}

impl<E: Exchange> Session<'_, E> {
    /// The relayed address, if the answer holds one.
    pub async fn allocate(&mut self, v6: bool) -> Result<Option<SocketAddr>, Failure> {
        let ask = Ask::Allocate { v6 };
        match self.ask(ask).await? {
            Answer { code: UNAUTHENTICATED, challenge: Some(challenge), .. } => self.client.learn(challenge),
            other => return Err(refused(ask, other.code)),
        }
        match self.ask(ask).await? {
            Answer { code: 0, relayed, .. } => Ok(relayed),
            other => Err(refused(ask, other.code)),
        }
    }

    /// Give back what was allocated, if anything was asked for at all.
    pub async fn close(&mut self) -> Result<(), Failure> {
        if !self.client.is_challenged() {
            return Ok(());
        }
        match self.ask(Ask::Delete).await?.code {
            0 | ALLOCATION_MISMATCH => Ok(()),
            code => Err(refused(Ask::Delete, code)),
        }
    }

    pub async fn ask(&mut self, ask: Ask) -> Result<Answer, Failure> {
        let mut transaction = [0; 12];
        // Without randomness there is no TLS and no nonce either; the node would not be running.
        getrandom::fill(&mut transaction).map_err(|_| Failure::NoAnswer)?;
        let request = self.client.request(ask, transaction);
        self.exchange.ask(&request).await.ok_or(Failure::NoAnswer)
    }
}

pub fn refused(ask: Ask, code: u16) -> Failure {
    let ask = match ask {
        Ask::Allocate { .. } => "Allocate",
        Ask::Permission(_) => "CreatePermission",
        Ask::Channel { .. } => "ChannelBind",
        Ask::Delete => "Refresh",
    };
    Failure::Refused { ask, code }
}
