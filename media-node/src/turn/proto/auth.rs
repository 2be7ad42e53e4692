//! The long-term credential mechanism with REST credentials (RFC 8489 section 9.2.4). The checks stand in the order of
//! the RFC.

use std::net::SocketAddr;

use super::attribute::{NONCE, PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS, REALM, USERHASH, USERNAME};
use super::config::ServerConfig;
use super::credentials::{Key, PasswordAlgorithm, RestUsername, USERNAME_MAX, userhash};
use super::integrity::{sha1_matches, sha256_matches};
use super::message::Message;
use super::server::Now;
use super::shared::Shared;
use super::terms::Terms;

/// Who sent a request, and how its answer is to be signed.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) username: Box<str>,
    pub(super) key: Key,
    pub(super) sign: Sign,
}

/// Which integrity attribute an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Sha1,
    Sha256,
}

/// Why nobody is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// 401, with a realm and a nonce to try again with.
    Unauthenticated,
    /// 400, without anything: the client does not follow the mechanism.
    BadRequest,
    /// 438: the password is right, the nonce is not ours, not this client's, or too old.
    StaleNonce,
}

/// Whether the request carries a nonce that was sent to its source address and is still good. Without one nobody is
/// authenticated, whatever else is right: so this may be asked first.
pub(super) fn proves_address(now: Now, source: SocketAddr, message: &Message<'_>, shared: &Shared) -> bool {
    message.attribute(NONCE).is_some_and(|nonce| shared.nonces.accepts(nonce, source, now.unix))
}

/// With what a live allocation was made.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    pub(super) username: &'a str,
    pub(super) key: &'a Key,
}

/// `live` is the allocation of the request's 5-tuple, or of its ticket. Its username goes on being accepted after its
/// expiry and after its secret was rotated out: expiry is for making allocations. `proven` is what [`proves_address`]
/// says.
pub(super) fn authenticate(
    now: Now,
    message: &Message<'_>,
    proven: bool,
    config: &ServerConfig,
    terms: &Terms,
    shared: &Shared,
    live: Option<Live<'_>>,
) -> Result<Identity, Denied> {
    if message.sha1().is_none() && message.sha256().is_none() {
        return Err(Denied::Unauthenticated);
    }
    let claimed = message.attribute(USERNAME).map(Name::Clear).or_else(|| message.attribute(USERHASH).map(Name::Hash));
    let (Some(name), Some(_), Some(_)) = (claimed, message.attribute(REALM), message.attribute(NONCE)) else {
        return Err(Denied::BadRequest);
    };
    let algorithm = algorithm(message)?;
    let realm = config.realm.as_str();
    let live = live.filter(|live| name.is(live.username, realm));
    let username: Box<str> = match (live, name) {
        (Some(live), _) => live.username.into(),
        (None, Name::Clear(bytes)) => clear_username(bytes).ok_or(Denied::Unauthenticated)?.into(),
        (None, Name::Hash(hash)) => shared.find_username(hash).ok_or(Denied::Unauthenticated)?,
    };
    let rest = RestUsername::parse(&username).ok_or(Denied::Unauthenticated)?;
    if live.is_none() && !rest.valid(now.unix, terms.max_credential_ttl) {
        return Err(Denied::Unauthenticated);
    }
    let key_algorithm = algorithm.unwrap_or(PasswordAlgorithm::Md5);
    let kept = live.map(|live| live.key).filter(|key| key.algorithm() == key_algorithm).cloned();
    let secrets = shared.secrets();
    let derived = secrets.iter().map(|secret| Key::new(key_algorithm, &username, realm, &secret.password(&username)));
    let key = kept.into_iter().chain(derived).find(|key| signed_with(message, key)).ok_or(Denied::Unauthenticated)?;
    if !proven {
        return Err(Denied::StaleNonce);
    }
    // The end of section 9.2.4: who names an algorithm speaks RFC 8489 and gets SHA-256. A legacy client gets what it
    // sent.
    let sign = if algorithm.is_some() || message.sha256().is_some() { Sign::Sha256 } else { Sign::Sha1 };
    Ok(Identity { username, key, sign })
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Clear(&'a [u8]),
    Hash(&'a [u8]),
}

impl Name<'_> {
    fn is(self, username: &str, realm: &str) -> bool {
        match self {
            Self::Clear(bytes) => bytes == username.as_bytes(),
            Self::Hash(hash) => hash == userhash(username, realm),
        }
    }
}

fn clear_username(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|name| name.len() <= USERNAME_MAX)
}

/// `None`: a client of RFC 5389, that is MD5. PASSWORD-ALGORITHMS must be what we send, or somebody has changed it on
/// the way.
fn algorithm(message: &Message<'_>) -> Result<Option<PasswordAlgorithm>, Denied> {
    match (message.attribute(PASSWORD_ALGORITHM), message.attribute(PASSWORD_ALGORITHMS)) {
        (None, None) => Ok(None),
        (Some(chosen), Some(offered)) if offered == PasswordAlgorithm::OFFERED => {
            PasswordAlgorithm::read(chosen).map(Some).ok_or(Denied::BadRequest)
        }
        _ => Err(Denied::BadRequest),
    }
}

/// The stronger attribute decides if both are there.
fn signed_with(message: &Message<'_>, key: &Key) -> bool {
    match (message.sha256(), message.sha1()) {
        (Some(signature), _) => sha256_matches(key.as_bytes(), signature),
        (None, Some(signature)) => sha1_matches(key.as_bytes(), signature),
        (None, None) => false,
    }
}
