//! Dynamic updates of a zone (RFC 2136), signed with TSIG (RFC 8945), over TCP: BIND, Knot, PowerDNS and others.
//!
//! One UPDATE message carries addresses and owner, and servers apply it as a whole or not at all (RFC 2136 section 3.4).
//! Its prerequisites say what must be there (section 2.4), so it is a compare-and-swap. We try first and read only
//! when the server says no: it alone knows what there is at a name, while an answer may come from a wildcard.
//!
//! hickory-proto gives messages and signatures. The transport is ours: one question at a time needs no multiplexer, and
//! an answer that says what is wrong with a signature is not signed, which a verifying transport hides.

mod change;
mod key;
mod read;
mod server;
mod settings;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use hickory_proto::op::ResponseCode;

use self::change::Change;
pub use self::key::{Algorithm, NoKey, TsigKey};
pub use self::server::{NoServer, Server};
pub use self::settings::{MAX_SERVERS, NoSettings, Settings};
use self::wire::Connection;
use super::{
    Agreement, Answer, DnsName, Expected, Outcome, Owner, Ownership, PublishError, Published, Publisher, RecordSet,
    ServerAnswer, Withdrawn, verdict,
};
use crate::clock::Clock;

/// A withdrawal reads first, and somebody may write in between; more often than that is a fight.
const WITHDRAWAL_TRIES: usize = 3;

/// What stands in the way of a first publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Free,
    /// By whomever.
    InUse,
}

/// One zone and the servers that take its updates.
pub struct Rfc2136 {
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl Rfc2136 {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock }
    }

    /// Whether each configured server would take a publication of `name`, without making any: the update deletes
    /// records that cannot be there, one of each type that we write. Servers check the key and its rights all the same,
    /// and a deletion of nothing is silently ignored (RFC 2136 section 3.4.2.4). A second one has prerequisites alone.
    pub async fn may_update(&self, name: &DnsName) -> Vec<(Server, Result<Availability, PublishError>)> {
        let ask = |server: &'_ Server| {
            let server = server.clone();
            async move {
                let outcome = wire::bounded(&server, self.would_take(&server, name)).await;
                (server, outcome)
            }
        };
        futures::future::join_all(self.settings.servers().iter().map(ask)).await
    }

    async fn would_take(&self, server: &Server, name: &DnsName) -> Result<Availability, PublishError> {
        self.in_zone(name)?;
        let mut connection = Connection::open(server).await?;
        match self.update(&mut connection, name, &change::nothing(name)?).await? {
            ResponseCode::NoError => {}
            code => return Err(PublishError::Unforeseen { server: server.to_string(), code: code.to_string() }),
        }
        match self.update(&mut connection, name, &change::free(name)?).await? {
            ResponseCode::NoError => Ok(Availability::Free),
            _ => Ok(Availability::InUse),
        }
    }

    /// What every authoritative server answers. One that cannot be asked has an error in place of an answer.
    ///
    /// # Errors
    /// If it cannot be found out which servers there are.
    pub async fn read_back(&self, name: &DnsName) -> Result<Vec<ServerAnswer>, PublishError> {
        self.in_zone(name)?;
        read::everywhere(&self.settings, name).await
    }

    async fn publish_at(
        &self,
        server: &Server,
        wanted: &RecordSet,
        expected: &Expected,
        change: &Change,
    ) -> Result<Published, PublishError> {
        let mut connection = Connection::open(server).await?;
        let outcome = match self.update(&mut connection, wanted.name(), change).await? {
            ResponseCode::NoError if change.is_empty() => Outcome::AlreadyThere,
            ResponseCode::NoError => Outcome::Written,
            _ => {
                let found = self.read_at(&mut connection, wanted.name()).await?;
                // The answer to an earlier try was lost, or another writer had the same to write.
                if !is_there(wanted, &found) {
                    return Err(verdict::refusal(wanted, expected, found, server.to_string()));
                }
                Outcome::AlreadyThere
            }
        };
        Ok(Published { server: server.to_string(), outcome })
    }

    async fn withdraw_at(&self, server: &Server, name: &DnsName, owner: &Owner) -> Result<Withdrawn, PublishError> {
        let mut connection = Connection::open(server).await?;
        let mut found = self.read_at(&mut connection, name).await?;
        for _ in 0..WITHDRAWAL_TRIES {
            if !found.owner.is(owner) {
                return Ok(Withdrawn::NotOurs(found.owner));
            }
            let change = change::withdraw(name, &found)?;
            if self.update(&mut connection, name, &change).await? == ResponseCode::NoError {
                return Ok(Withdrawn::Removed);
            }
            found = self.read_at(&mut connection, name).await?;
        }
        Err(PublishError::Conflict { server: server.to_string(), name: name.clone(), found: Box::new(found) })
    }

    /// `NoError`, or the code of a prerequisite that does not hold.
    async fn update(
        &self,
        connection: &mut Connection,
        name: &DnsName,
        change: &Change,
    ) -> Result<ResponseCode, PublishError> {
        let message = change.message(self.settings.zone())?;
        wire::update(connection, message, &self.settings, name, self.clock.now()).await
    }

    async fn read_at(&self, connection: &mut Connection, name: &DnsName) -> Result<Answer, PublishError> {
        Ok(read::answer(connection, self.settings.zone(), name).await?.1)
    }

    fn in_zone(&self, name: &DnsName) -> Result<(), PublishError> {
        let zone = self.settings.zone();
        if name.is_in(zone) { Ok(()) } else { Err(PublishError::NotInZone { name: name.clone(), zone: zone.clone() }) }
    }
}

fn is_there(wanted: &RecordSet, found: &Answer) -> bool {
    found.owner == Ownership::Owner(wanted.owner().clone()) && &found.addresses == wanted.addresses()
}

/// The first server that does it, in the order of configuration.
async fn first<'a, T, F>(servers: &'a [Server], attempt: impl Fn(&'a Server) -> F) -> Result<T, PublishError>
where
    F: Future<Output = Result<T, PublishError>>,
{
    let mut errors = Vec::new();
    for server in servers {
        match wire::bounded(server, attempt(server)).await {
            Err(error) if !error.is_about_the_name() => {
                tracing::debug!(%server, %error, "a DNS server did not do it");
                errors.push(error);
            }
            done => return done,
        }
    }
    Err(PublishError::of_all(errors))
}

impl Publisher for Rfc2136 {
    fn publish<'a>(
        &'a self,
        wanted: &'a RecordSet,
        expected: &'a Expected,
    ) -> BoxFuture<'a, Result<Published, PublishError>> {
        Box::pin(async move {
            self.in_zone(wanted.name())?;
            let change = change::publish(wanted, expected)?;
            first(self.settings.servers(), |server| self.publish_at(server, wanted, expected, &change)).await
        })
    }

    fn agreement<'a>(&'a self, wanted: &'a RecordSet) -> BoxFuture<'a, Result<Agreement, PublishError>> {
        Box::pin(async move { Ok(Agreement::of(wanted, &self.read_back(wanted.name()).await?)) })
    }

    fn withdraw<'a>(&'a self, name: &'a DnsName, owner: &'a Owner) -> BoxFuture<'a, Result<Withdrawn, PublishError>> {
        Box::pin(async move {
            self.in_zone(name)?;
            first(self.settings.servers(), |server| self.withdraw_at(server, name, owner)).await
        })
    }
}
