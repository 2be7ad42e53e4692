//! Usernames behind USERHASH (RFC 8489 sections 9.2 and 14.4).
//!
//! USERHASH is SHA-256(username:realm), and a server of REST credentials has no list of its users to find it in:
//! usernames are made elsewhere, a new one every few hours. So this server does not offer anonymous usernames (the bit
//! in the nonce cookie stays 0), and a client that follows the RFC sends USERNAME. A client that sends USERHASH
//! nevertheless is served if its username is known: because the allocation in question was made with it, or because it
//! made an allocation in clear not long ago. Those are remembered here, the oldest forgotten first. Any other USERHASH
//! gets a 401, like any other unknown user.

use std::collections::{HashMap, VecDeque};

/// At most 4096 usernames of at most 508 bytes: 2.3 MB.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Usernames {
    by_hash: HashMap<[u8; 32], Box<str>>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl Usernames {
    pub(super) fn remember(&mut self, hash: [u8; 32], username: &str) {
        if self.by_hash.contains_key(&hash) {
            return;
        }
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
        self.by_hash.insert(hash, username.into());
        self.oldest_first.push_back(hash);
    }

    pub(super) fn find(&self, hash: &[u8]) -> Option<Box<str>> {
        let hash: &[u8; 32] = hash.try_into().ok()?;
        self.by_hash.get(hash).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_username_is_forgotten_when_there_are_too_many() {
        let mut names = Usernames::default();
        let hash = |n: usize| crate::turn::proto::credentials::userhash(&n.to_string(), "realm");
        for n in 0..=REMEMBERED {
            names.remember(hash(n), &n.to_string());
        }
        assert_eq!(names.find(&hash(0)), None);
        assert_eq!(names.find(&hash(1)).as_deref(), Some("1"));
        assert_eq!((names.by_hash.len(), names.oldest_first.len()), (REMEMBERED, REMEMBERED));
    }
}
