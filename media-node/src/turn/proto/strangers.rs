//! How many requests of strangers are answered: those whose source address may be forged.
//!
//! An answer goes to whoever stands in the source address. Each is small ([`Amplification`](super::Drop::Amplification)),
//! but a flood with a victim's addresses as its sources would be passed on to the victim's network, from an address that
//! the victim may want to hear. So answers are limited by the network that they go to: /24 in IPv4, /48 in IPv6, the
//! least that is routed and so the least that a victim has or a forger cares about.
//!
//! Who has proven its address is never limited: by a nonce that was sent there and is still good, by a live allocation
//! on its 5-tuple, by a stream. That is everybody but for the first request of a client, one every 10 minutes when its
//! nonce has expired without an allocation, and Binding requests.
//!
//! # The users of a network that a flood pretends to come from
//!
//! They must not be locked out, or the forger has found a better attack. What they do and a forger does not: they send
//! again. A request is sent after 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s with the same transaction id from the same port
//! (RFC 8489 section 6.2.1).
//!
//! - The first budget is for everybody.
//! - When it is used up, a request is only remembered. If it comes again it is answered from a second budget, half as
//!   large, which a flood of ever new sources cannot touch.
//! - A request is answered three times from the second budget. While it is remembered after that it is answered only
//!   when the first budget is whole, that is when nobody else wants any of it: so the same few datagrams over and over do
//!   not use up the budgets either, and a monitor that always sends the same one is heard again once a flood is over.
//!
//! A forger who sends each of ever new requests twice uses up both. Then clients of that network have streams left, and
//! the flood is worth no more to its maker than before: one and a half times the limit.
//!
//! # Memory and time
//!
//! All of it has a fixed size and is found by a keyed hash, so nobody knows whose place is whose. A bucket is shared by
//! all networks that fall on it. The two budgets of a network are in different places: who shares the first with a
//! flooded network, 1 in 4096, still gets in with the first retransmission.
//!
//! Of a request 14 bits are remembered in one of 2^18 places, until another one takes the place. So there is no clock
//! and no sweeping: with 100 000 forged requests a second on one shard, 83 in 100 real ones are still known when they
//! come again after 0.5 s; with 500 000, 38 in 100, where a limit alone would let 1 in 500 in. A forged one is taken for
//! one that came before in 1 of 16 000 cases.

use std::time::Instant;
use std::{net::IpAddr, num::NonZeroU32};

use ahash::RandomState;

use super::bucket::{Bucket, nanos};
use super::server::ClientPath;

/// Places for networks. A power of two.
const NETWORKS: usize = 1 << 12;
/// Places for requests. A power of two.
const REQUESTS: usize = 1 << 18;
/// What may go out at once, as the time that the rate takes for it: nanoseconds.
const BURST: u64 = 2_000_000_000;
/// What an answer of the second budget costs in answers of the first.
const AGAIN: u64 = 2;

/// The lower bits of a place for a request: how often it was answered from the second budget.
const ANSWERED: u16 = 0b11;

/// The limit of one shard.
pub(super) struct Strangers {
    hasher: RandomState,
    /// The first request that it saw.
    start: Option<Instant>,
    /// Nanoseconds.
    cost: u64,
    first: Box<[Bucket]>,
    again: Box<[Bucket]>,
    seen: Box<[u16]>,
}

impl std::fmt::Debug for Strangers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Strangers").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Strangers {
    /// `limit` is of the whole process, answers a second to a network; `shards` have a share each, since the kernel
    /// spreads 5-tuples evenly over them.
    pub(super) fn new(limit: NonZeroU32, shards: usize, hasher: RandomState) -> Self {
        let buckets = || vec![Bucket::default(); NETWORKS].into_boxed_slice();
        Self {
            hasher,
            start: None,
            cost: (1_000_000_000 * shards.max(1) as u64 / u64::from(limit.get())).max(1),
            first: buckets(),
            again: buckets(),
            // Zeroed pages of the kernel's: they cost no memory before the first flood.
            seen: vec![0; REQUESTS].into_boxed_slice(),
        }
    }

    /// Whether to answer a request with this transaction id. Two hashes, and three looks at tables at the most.
    pub(super) fn admit(&mut self, now: Instant, path: &ClientPath, transaction: [u8; 12]) -> bool {
        let now = nanos(*self.start.get_or_insert(now), now);
        let network = self.hasher.hash_one(network(path.remote.ip()));
        let request = self.hasher.hash_one((path, transaction));
        let [first, again] = [place(network, NETWORKS), place(network >> 32, NETWORKS)];
        let seen = &mut self.seen[place(request, REQUESTS)];
        // Zero is an empty place.
        let mark = ((request >> 48) as u16 & !ANSWERED).max(ANSWERED + 1);
        let known = *seen & !ANSWERED == mark;
        if known && *seen & ANSWERED == ANSWERED && !self.first[first].is_full(now) {
            return false;
        }
        if take(&mut self.first[first], now, self.cost) {
            return true;
        }
        if !known {
            *seen = mark;
            return false;
        }
        let answered = take(&mut self.again[again], now, AGAIN * self.cost);
        *seen += u16::from(answered);
        answered
    }

    /// Bytes in tables.
    #[cfg(test)]
    fn size(&self) -> usize {
        size_of_val(&*self.first) + size_of_val(&*self.again) + size_of_val(&*self.seen)
    }
}

/// However small the limit, one answer fits into the bucket.
fn take(bucket: &mut Bucket, now: u64, cost: u64) -> bool {
    bucket.take(now, cost, BURST.max(cost))
}

/// IPv4 and IPv6 never look the same.
fn network(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => 1 << 63 | u64::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => (u128::from(ip) >> 80) as u64,
    }
}

fn place(hash: u64, places: usize) -> usize {
    usize::try_from(hash % places as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::server::Transport;
    use super::*;

    const LIMIT: usize = 1000;

    fn strangers(shards: usize) -> Strangers {
        Strangers::new(NonZeroU32::new(1000).unwrap(), shards, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn path(remote: SocketAddr) -> ClientPath {
        ClientPath { local: "203.0.113.7:3478".parse().unwrap(), remote, transport: Transport::Udp }
    }

    /// The `n`th of ever new sources in 198.51.100.0/24.
    fn forged(n: usize) -> ClientPath {
        let [.., a, b, c] = n.to_be_bytes();
        path(SocketAddr::new(Ipv4Addr::new(198, 51, 100, a).into(), u16::from_be_bytes([b, c])))
    }

    fn transaction(n: usize) -> [u8; 12] {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    }

    /// How many of `requests` ever new ones are answered.
    fn flood(strangers: &mut Strangers, now: Instant, requests: std::ops::Range<usize>) -> usize {
        requests.filter(|n| strangers.admit(now, &forged(*n), transaction(*n))).count()
    }

    #[test]
    fn a_network_gets_a_burst_and_then_the_limit_and_another_network_is_not_affected() {
        let (mut strangers, start) = (strangers(1), Instant::now());
        assert_eq!(flood(&mut strangers, start, 0..10_000), 2 * LIMIT);
        assert_eq!(flood(&mut strangers, start + Duration::from_secs(1), 10_000..20_000), LIMIT);
        for other in ["198.51.101.1:5000", "[2001:db8:1::1]:5000", "[2001:db8:2::1]:5000"] {
            let other = path(other.parse().unwrap());
            assert!((0..LIMIT).all(|n| strangers.admit(start, &other, transaction(n))), "{other:?}");
        }
    }

    #[test]
    fn the_shards_of_a_process_have_the_limit_together() {
        let (mut strangers, start) = (strangers(4), Instant::now());
        assert_eq!(flood(&mut strangers, start, 0..10_000), 2 * LIMIT / 4);
        assert_eq!(flood(&mut strangers, start + Duration::from_secs(1), 10_000..20_000), LIMIT / 4);
        let mut least = Strangers::new(NonZeroU32::MIN, 256, RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(flood(&mut least, start, 0..100), 1, "one answer at the least");
    }

    #[test]
    fn a_network_is_a_24_of_ipv4_and_a_48_of_ipv6() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("192.0.2.0", "192.0.2.255") && !same("192.0.2.255", "192.0.3.0"));
        assert!(same("2001:db8:1::", "2001:db8:1:ffff::1") && !same("2001:db8:1::", "2001:db8:2::"));
        assert!(!same("1.2.3.4", "::102:304") && !same("0.0.0.0", "::"));
    }

    #[test]
    fn a_real_client_of_a_flooded_network_is_answered_when_it_sends_again() {
        let (mut strangers, start) = (strangers(1), Instant::now());
        // 50 000 a second, from addresses of the client's network.
        let mut sent = 0;
        let mut answered = 0;
        let mut flood_until = |strangers: &mut Strangers, ms: usize| {
            for n in sent..50 * ms {
                let now = start + Duration::from_micros(n as u64 * 20);
                answered += usize::from(strangers.admit(now, &forged(n), transaction(n)));
            }
            sent = 50 * ms;
        };
        flood_until(&mut strangers, 1000);
        let mut waiting: Vec<usize> = (0..100).collect();
        for at in [1000, 1500, 2500] {
            flood_until(&mut strangers, at);
            let now = start + Duration::from_millis(at as u64);
            waiting.retain(|n| {
                let client = path(SocketAddr::new([198, 51, 100, 7].into(), 40_000 + u16::try_from(*n).unwrap()));
                !strangers.admit(now, &client, transaction(*n))
            });
        }
        assert!(waiting.len() <= 5, "{} of 100 were not answered with the second retransmission", waiting.len());
        assert!(answered <= 2 * LIMIT + 5 * LIMIT / 2, "the flood got {answered} answers");
    }

    #[test]
    fn one_datagram_over_and_over_leaves_the_budgets_to_others() {
        let (mut strangers, start) = (strangers(1), Instant::now());
        let one = forged(0);
        let answered = (0..100_000).filter(|_| strangers.admit(start, &one, transaction(0))).count();
        assert_eq!(answered, 2 * LIMIT + 3);
        let later = start + Duration::from_secs(1);
        assert!(!strangers.admit(later, &one, transaction(0)));
        assert_eq!(flood(&mut strangers, later, 1..10_000), LIMIT, "all of it is for others");
    }

    #[test]
    fn who_was_taken_for_a_flood_is_answered_again_once_it_is_over() {
        let (mut strangers, start) = (strangers(1), Instant::now());
        let prober = path("198.51.100.9:4000".parse().unwrap());
        flood(&mut strangers, start, 0..10_000);
        assert_eq!((0..10).filter(|_| strangers.admit(start, &prober, transaction(7))).count(), 3);
        // Some send the same bytes from the same port for as long as they run.
        let later = start + Duration::from_secs(5);
        assert!(strangers.admit(later, &prober, transaction(7)));
    }

    #[test]
    fn who_sends_everything_twice_gets_one_and_a_half_times_the_limit() {
        let (mut strangers, start) = (strangers(1), Instant::now());
        let mut answered = 0;
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            for _ in 0..2 {
                let n = 10_000 * usize::try_from(second).unwrap();
                answered += flood(&mut strangers, now, n..n + 10_000);
            }
        }
        assert!(answered <= (9 + 2) * LIMIT * 3 / 2, "{answered}");
    }

    #[test]
    fn memory_does_not_grow_with_what_is_seen() {
        let mut strangers = strangers(1);
        let before = strangers.size();
        assert_eq!(before, 2 * 8 * NETWORKS + 2 * REQUESTS);
        for n in 0..200_000_u32 {
            let remote = SocketAddr::new(Ipv4Addr::from(n << 8).into(), 1);
            strangers.admit(Instant::now(), &path(remote), transaction(0));
        }
        assert_eq!(strangers.size(), before);
    }

    proptest! {
        /// Networks, ports and transactions of few values, so that they meet; a clock that stands, goes and jumps.
        #[test]
        fn whatever_comes_no_network_gets_more_than_its_budgets(
            requests in proptest::collection::vec((0u8..3, 0u16..40, 0usize..3, -100i32..100), 0..3000)
        ) {
            let mut strangers = Strangers::new(NonZeroU32::new(10).unwrap(), 1, RandomState::with_seeds(1, 2, 3, 4));
            let start = Instant::now() + Duration::from_mins(1);
            let (mut now, mut latest, mut answered) = (start, start, [0u64; 3]);
            for (network, port, id, ms) in requests {
                let step = Duration::from_millis(u64::from(ms.unsigned_abs() / 10));
                now = if ms < 0 { now.checked_sub(step).unwrap_or(now) } else { now + step };
                // What a clock that goes back and forth passes twice counts twice.
                latest += if ms < 0 { Duration::ZERO } else { step };
                let ip = Ipv6Addr::new(0x2001, 0xdb8, network.into(), 0, 0, 0, 0, 1);
                let admitted = strangers.admit(now, &path(SocketAddr::new(ip.into(), port)), transaction(id));
                answered[usize::from(network)] += u64::from(admitted);
            }
            let most = 30 + 15 * u64::try_from((latest - start).as_millis()).unwrap() / 1000 + 2;
            prop_assert!(answered.iter().all(|answered| *answered <= most), "{answered:?} above {most}");
        }
    }
}
