//! Who owns a name: a TXT record beside it, at `_rtc-fleet.<name>`.
//!
//! A name of its own, because a TXT RRset at the published name may be somebody else's (SPF and the like), and because
//! a key can be allowed to write addresses at one name and TXT at the other, and nothing else.

use std::{fmt, str::FromStr};

/// Says what the record is for one who finds it in the zone.
const HERITAGE: &str = "heritage=rtc-fleet,owner=";
/// Before the number of the process that writes.
const CLAIM: &str = ",claim=";
/// A TXT record is made of strings that are no longer (RFC 1035 section 3.3).
const LONGEST_STRING: usize = 255;
/// Three Kubernetes names and the slashes fit twice.
const LONGEST: usize = 1024;

/// Unique in the cluster and beyond: namespace, name and uid of the object that publishes. The uid keeps an object that
/// was deleted and made again from taking names for its own that its predecessor has left, and one cluster from another.
///
/// Several processes may write for one owner, one after the other. Each claims the name with a number of its own, so that what
/// an earlier one sent and was delayed finds another number, and is refused, also where the addresses are the same again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    id: String,
    claim: u32,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is no owner: write namespace/name/uid, and maybe ,claim=NUMBER, in printable ASCII without comma, space, quote and backslash"
)]
pub struct NoOwner {
    text: String,
}

impl Owner {
    pub fn new(namespace: &str, name: &str, uid: &str) -> Result<Self, NoOwner> {
        format!("{namespace}/{name}/{uid}").parse()
    }

    /// The same owner under this claim. 0 is none.
    #[must_use]
    pub fn claiming(&self, claim: u32) -> Self {
        Self { id: self.id.clone(), claim }
    }

    /// 0 without any.
    pub fn claim(&self) -> u32 {
        self.claim
    }

    /// The same owner, whatever the claim.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// The strings of the TXT record. One spelling only: a prerequisite compares it octet by octet.
    pub fn strings(&self) -> Vec<Vec<u8>> {
        format!("{HERITAGE}{self}").into_bytes().chunks(LONGEST_STRING).map(<[u8]>::to_vec).collect()
    }

    /// The owner whom a TXT record names; none if it is not one of ours.
    pub fn read(strings: &[Vec<u8>]) -> Option<Self> {
        let text = String::from_utf8(strings.concat()).ok()?;
        text.strip_prefix(HERITAGE)?.parse().ok()
    }
}

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Self, NoOwner> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\\'))
        };
        let wrong = || NoOwner { text: text.chars().take(300).collect() };
        let (id, claim) = match text.split_once(CLAIM) {
            Some((id, claim)) => (id, claim.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let parts: Vec<_> = id.split('/').collect();
        if text.len() <= LONGEST && parts.len() == 3 && parts.into_iter().all(is_part) {
            Ok(Self { id: id.to_owned(), claim })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if self.claim == 0 { Ok(()) } else { write!(f, "{CLAIM}{}", self.claim) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written_however_long_its_names() {
        for name in ["turn".to_owned(), "n".repeat(253)] {
            let owner = Owner::new("calls", &name, "0d4e2b0e-7f61-4a09-9d6e-1f1f3a1f8f6c").unwrap();
            let strings = owner.strings();
            assert!(strings.iter().all(|string| string.len() <= LONGEST_STRING), "{strings:?}");
            assert_eq!(Owner::read(&strings), Some(owner.clone()));
            let claimed = owner.claiming(7);
            assert_eq!(Owner::read(&claimed.strings()), Some(claimed.clone()));
            assert!(claimed.is_same(&owner) && claimed != owner);
        }
    }

    #[test]
    fn what_somebody_else_has_written_names_no_owner() {
        for text in [
            "",
            "v=spf1 -all",
            "heritage=external-dns,external-dns/owner=default",
            "heritage=rtc-fleet,owner=a",
            "heritage=rtc-fleet,owner=a/b/c,claim=x",
        ] {
            assert_eq!(Owner::read(&[text.into()]), None, "{text}");
        }
        assert_eq!(Owner::read(&[vec![0xff]]), None);
    }

    #[test]
    fn an_owner_has_three_parts_that_need_no_quotes() {
        for (namespace, name, uid) in [("", "b", "c"), ("a", "b/d", "c"), ("a", "b", "c,d"), ("a", "b d", "c")] {
            assert!(Owner::new(namespace, name, uid).is_err(), "{namespace} {name} {uid}");
        }
    }
}
