//! Publishes DNS answers: says which addresses a name has, and asks who tells it to callers. One trait; a folder a
//! provider. Does not know why an answer is wanted.
//!
//! Beside every name there is a record of who owns it (`Owner`). Nothing that somebody else made is touched unless the
//! caller says so (`Expected::TakeOver`), and every write names what it replaces (`Expected`), so that of two writers
//! at once one wins and the other is told what is there now. Azure knows neither: see there.

mod agreement;
mod answer;
pub mod azure;
mod error;
pub mod external_dns;
mod name;
mod owner;
mod record_set;
pub mod rfc2136;
mod verdict;

use futures::future::BoxFuture;

pub use self::agreement::{Agreement, Lag, ServerAnswer};
pub use self::answer::{Addresses, Answer, Ownership};
pub use self::error::PublishError;
pub use self::name::{DnsName, NoDnsName};
pub use self::owner::{NoOwner, Owner};
pub use self::record_set::{MAX_RECORDS, MAX_TTL, NoRecordSet, RecordSet, Share, Ttl};

/// Where answers are published. A trait, so that every provider is driven alike, and tests stand in for one.
pub trait Publisher: Send + Sync {
    /// Makes `wanted` the answer, in one step, if what is there now is `expected`. What is there already is not written
    /// again, so a publication whose outcome got lost is simply repeated.
    ///
    /// # Errors
    /// `Conflict` if there is something else of the same owner, `Foreign` if the name is in use by somebody else; both
    /// say what is there. Nothing has been changed then.
    fn publish<'a>(
        &'a self,
        wanted: &'a RecordSet,
        expected: &'a Expected,
    ) -> BoxFuture<'a, Result<Published, PublishError>>;

    /// Who tells `wanted` to callers by now, and who does not yet.
    ///
    /// # Errors
    /// If it cannot be found out who should.
    fn agreement<'a>(&'a self, wanted: &'a RecordSet) -> BoxFuture<'a, Result<Agreement, PublishError>>;

    /// Removes the addresses of `name` and the record of its owner, if that is `owner`. Others' names are left alone.
    fn withdraw<'a>(&'a self, name: &'a DnsName, owner: &'a Owner) -> BoxFuture<'a, Result<Withdrawn, PublishError>>;
}

/// What the caller believes to be there: the one thing that a publication may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Neither addresses nor an owner.
    Nothing,
    /// These addresses, and the owner who publishes, under the same claim. No addresses: somebody has removed them.
    Ours(Addresses),
    /// All of this, whoever owns it: that of a former process of the same owner, or because a person has said so.
    TakeOver(Answer),
}

/// A publication that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which server has it, as configured.
    pub server: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// Nothing was left to write.
    AlreadyThere,
}

/// A withdrawal that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    Removed,
    /// There is nothing of this owner. What there is stays.
    NotOurs(Ownership),
}
