//! The last verdict of every target, and what has been counted. Pure, but for the lock around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rtcfleet_node_api::{self as api, Security, Stage, Verdict, Verdicts};

use super::{
    canary::{self, Known},
    reach::Finding,
    session::Report,
    target::{Key, Target},
};

/// Upper bounds of the histogram of round trips, seconds. The score of a call begins to fall at 160 ms of delay.
pub const BUCKETS: [f64; 9] = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28];

/// Why a target was not probed when its time had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// The last probe was still at it.
    Overlap,
    /// As many as may run at one time were running.
    Concurrency,
    /// Its secret or password could not be read yet.
    NoCredentials,
    /// This machine had no socket for it.
    NoSocket,
}

impl Skip {
    pub const ALL: [Self; 4] = [Self::Overlap, Self::Concurrency, Self::NoCredentials, Self::NoSocket];

    pub fn label(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Concurrency => "concurrency",
            Self::NoCredentials => "no_credentials",
            Self::NoSocket => "no_socket",
        }
    }
}

/// All that is kept of one target.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub last: Option<Verdict>,
    /// When it was made.
    made: Option<Instant>,
    /// Probes that went well, and those that did not, by stage.
    pub passed: u64,
    pub failed: BTreeMap<Stage, u64>,
    pub packets_arrived: u64,
    pub packets_lost: u64,
    /// One for each of [`BUCKETS`], and one beyond.
    pub rtt_counts: [u64; BUCKETS.len() + 1],
    pub rtt_sum: f64,
    /// Looks at what must be refused that were carried out, and those that were not.
    pub security_checks: u64,
    pub security_failures: u64,
    not_after: Option<Timestamp>,
    security: Option<Security>,
}

/// What the log is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    None,
    /// For the first time, or again.
    Up,
    Down,
}

/// When a verdict was made, and the how-manieth it is.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: Timestamp,
    now: Instant,
    sequence: u64,
}

impl Record {
    /// As it is told at `now`.
    fn told(&self, now: Instant) -> Option<Verdict> {
        let age = now.saturating_duration_since(self.made?);
        Some(Verdict { age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX), ..self.last.clone()? })
    }

    fn take(&mut self, target: &Target, address: Option<SocketAddr>, finding: Finding, made: Made) -> News {
        let Report { fault, rtts, .. } = &finding.report;
        match fault {
            None => self.passed += 1,
            Some(fault) => *self.failed.entry(fault.stage).or_default() += 1,
        }
        self.packets_lost += u64::from(finding.report.packets_lost());
        self.packets_arrived += rtts.len() as u64;
        for rtt in rtts {
            observe(&mut self.rtt_counts, &mut self.rtt_sum, *rtt);
        }
        // One that fails before its handshake shows no certificate: that is no other certificate.
        self.not_after = finding.not_after.or(self.not_after);
        let before = self.last.as_ref().map(|last| (last.ok, last.streak));
        let verdict = verdict_of(target, address, finding, made.at);
        let ok = verdict.ok;
        let streak = before.filter(|(was, _)| *was == ok).map_or(1, |(_, streak)| streak.saturating_add(1));
        self.made = Some(made.now);
        self.last = Some(Verdict {
            sequence: made.sequence,
            streak,
            certificate_not_after: self.not_after,
            security: self.security.clone(),
            ..verdict
        });
        match (before, ok) {
            (Some((was, _)), is) if was == is => News::None,
            (_, true) => News::Up,
            (_, false) => News::Down,
        }
    }

    /// True if it is another alarm than before.
    fn take_security(&mut self, found: Option<Security>) -> bool {
        let Some(found) = found else {
            self.security_failures += 1;
            return false;
        };
        self.security_checks += 1;
        let of = |security: &Security| (security.accepts_wrong_password, security.granted_peers.clone());
        let changed = self.security.as_ref().map(of) != Some(of(&found));
        let alarms = found.is_alarming() && changed;
        if let Some(last) = &mut self.last {
            last.security = Some(found.clone());
        }
        self.security = Some(found);
        alarms
    }

    pub fn security(&self) -> Option<&Security> {
        self.security.as_ref()
    }
}

fn observe(counts: &mut [u64], sum: &mut f64, rtt: Duration) {
    let seconds = rtt.as_secs_f64();
    *sum += seconds;
    let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
    counts[bucket] += 1;
}

/// The first verdict of its kind: nothing is known from before.
pub fn verdict_of(target: &Target, address: Option<SocketAddr>, finding: Finding, at: Timestamp) -> Verdict {
    let Finding { report, not_after, took } = finding;
    let packets_lost = report.packets_lost();
    let Report { fault, mut rtts, packets_sent, heard: _ } = report;
    rtts.sort_unstable();
    let ok = fault.is_none();
    let (stage, code, detail) = fault.map_or((None, None, String::new()), |f| (Some(f.stage), f.code, f.detail));
    Verdict {
        target: target.name.clone(),
        transport: target.endpoint.transport,
        region: target.region.clone(),
        address,
        ok,
        stage,
        code,
        detail,
        rtt_millis: rtts.get(rtts.len() / 2).map(millis),
        packets_sent,
        packets_lost,
        took_millis: millis(&took),
        at,
        sequence: 0,
        age_millis: 0,
        streak: 1,
        certificate_not_after: not_after,
        security: None,
    }
}

/// Rounded to microseconds.
fn millis(time: &Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

const NOTHING: Known = Known { spots: 0, spot_at: None, target_at: None, no_socket_at: None, starved_at: None };

/// Up to where a reader has been told: a boot and a sequence of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub boot: u64,
    pub after: u64,
}

/// Shared by all probes of a process and whoever reads of them.
#[derive(Debug)]
pub struct Board {
    boot: u64,
    state: Mutex<State>,
}

impl Default for Board {
    fn default() -> Self {
        // Microseconds: two starts never have the same, and every reader of JSON keeps all of its digits.
        Self { boot: Timestamp::now().as_microsecond().unsigned_abs(), state: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Key, Record>,
    /// Of the last verdict.
    sequence: u64,
    skipped: BTreeMap<Skip, u64>,
    known: Option<Known>,
    interval: Duration,
    config_hash: String,
    config_stale: bool,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These targets from now on. What is no target any more is forgotten.
    pub fn configure(&self, keys: &BTreeSet<Key>, spots: usize, interval: Duration, hash: String) {
        let mut state = self.state();
        state.records.retain(|key, _| keys.contains(key));
        for key in keys {
            state.records.entry(key.clone()).or_default();
        }
        let known = state.known.unwrap_or(Known { spots, ..NOTHING });
        state.known = Some(Known { spots, ..known });
        (state.interval, state.config_hash, state.config_stale) = (interval, hash, false);
    }

    /// This target is another one than before under the same name.
    pub fn forget(&self, key: &Key) {
        if let Some(record) = self.state().records.get_mut(key) {
            *record = Record::default();
        }
    }

    pub fn set_config_stale(&self, stale: bool) {
        self.state().config_stale = stale;
    }

    pub fn config_stale(&self) -> bool {
        self.state().config_stale
    }

    /// Of a target that is none any more, nothing is kept.
    pub fn take(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        finding: Finding,
        at: Timestamp,
        now: Instant,
    ) -> News {
        let mut state = self.state();
        if finding.report.heard
            && let Some(known) = &mut state.known
        {
            known.target_at = Some(now);
        }
        state.sequence += 1;
        let made = Made { at, now, sequence: state.sequence };
        let record = state.records.get_mut(&target.key());
        record.map_or(News::None, |record| record.take(target, address, finding, made))
    }

    /// Where the target was reached last, if it was usable then.
    pub fn last_good_address(&self, key: &Key) -> Option<SocketAddr> {
        self.state().records.get(key)?.last.as_ref().filter(|last| last.ok)?.address
    }

    /// The alarm, if it is another one than before.
    pub fn take_security(&self, key: &Key, found: Option<Security>) -> Option<Security> {
        let mut state = self.state();
        let record = state.records.get_mut(key)?;
        record.take_security(found).then(|| record.security.clone()).flatten()
    }

    pub fn skip(&self, why: Skip, now: Instant) {
        let mut state = self.state();
        *state.skipped.entry(why).or_default() += 1;
        if why == Skip::NoSocket
            && let Some(known) = &mut state.known
        {
            known.no_socket_at = Some(now);
        }
    }

    /// This process came to its work too late.
    pub fn starved(&self, now: Instant) {
        if let Some(known) = &mut self.state().known {
            known.starved_at = Some(now);
        }
    }

    pub fn spot_answered(&self, now: Instant) {
        if let Some(known) = &mut self.state().known {
            known.spot_at = Some(now);
        }
    }

    pub fn canary(&self, now: Instant) -> api::Canary {
        let state = self.state();
        let known = state.known.unwrap_or(NOTHING);
        canary::judge(known, state.interval, now)
    }

    /// Without what was told before, if that was in this boot.
    pub fn verdicts(&self, heard: Option<Heard>, at: Timestamp, now: Instant) -> Verdicts {
        let canary = self.canary(now);
        let after = heard.filter(|heard| heard.boot == self.boot).map_or(0, |heard| heard.after);
        let state = self.state();
        let told = state.records.values().filter_map(|record| record.told(now));
        let verdicts = told.filter(|verdict| verdict.sequence > after).collect();
        Verdicts {
            version: crate::node::VERSION.to_owned(),
            boot: self.boot,
            config_hash: state.config_hash.clone(),
            now: at,
            canary,
            verdicts,
        }
    }

    /// Everything, for metrics.
    pub fn records(&self) -> BTreeMap<Key, Record> {
        self.state().records.clone()
    }

    pub fn skipped(&self, why: Skip) -> u64 {
        self.state().skipped.get(&why).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use rtcfleet_node_api::Transport;

    use super::*;
    use crate::{
        config::values::Written,
        probe::{fault::Fault, target::Endpoint},
    };

    const MS: Duration = Duration::from_millis(1);

    fn target() -> Target {
        let endpoint = Endpoint::parse("turn:192.0.2.1").unwrap();
        Target { name: "a".to_owned(), region: Some("north".to_owned()), endpoint, server_name: None }
    }

    fn board(targets: &[&Target]) -> Board {
        let board = Board::default();
        board.configure(&targets.iter().map(|target| target.key()).collect(), 0, 1000 * MS, "h".to_owned());
        board
    }

    fn good(rtts: &[u32]) -> Finding {
        let rtts = rtts.iter().map(|rtt| MS * *rtt).collect();
        let report = Report { fault: None, rtts, packets_sent: 4, heard: true };
        Finding { report, not_after: None, took: 50 * MS }
    }

    fn bad() -> Finding {
        Finding { report: Report::failed(Fault::silence(Stage::Allocate)), not_after: None, took: 750 * MS }
    }

    fn take(board: &Board, finding: Finding) -> (News, Verdict) {
        let news = board.take(&target(), None, finding, Timestamp::UNIX_EPOCH, Instant::now());
        (news, board.records()[&target().key()].last.clone().unwrap())
    }

    #[test]
    fn changes_are_news_once_and_streaks_count_what_stays() {
        let board = board(&[&target()]);
        let steps = [
            (good(&[1]), News::Up, 1),
            (good(&[1]), News::None, 2),
            (bad(), News::Down, 1),
            (bad(), News::None, 2),
            (good(&[1]), News::Up, 1),
        ];
        for (n, (finding, news, streak)) in steps.into_iter().enumerate() {
            let (told, verdict) = take(&board, finding);
            assert_eq!((told, verdict.streak), (news, streak), "step {n}");
        }
    }

    #[test]
    fn a_verdict_has_the_median_and_the_loss_and_the_histogram_every_packet() {
        let board = board(&[&target()]);
        let (_, verdict) = take(&board, good(&[90, 10, 20]));
        assert_eq!((verdict.rtt_millis, verdict.packets_sent, verdict.packets_lost), (Some(20.0), 4, 1));
        let record = &board.records()[&target().key()];
        assert_eq!(record.rtt_counts, [0, 1, 1, 0, 0, 1, 0, 0, 0, 0]);
        assert!((record.rtt_sum - 0.12).abs() < 1e-9);
        let (_, verdict) = take(&board, bad());
        assert_eq!((verdict.ok, verdict.stage, verdict.rtt_millis), (false, Some(Stage::Allocate), None));
    }

    #[test]
    fn a_certificate_stays_known_while_handshakes_fail() {
        let board = board(&[&target()]);
        take(&board, Finding { not_after: Some(Timestamp::MAX), ..good(&[1]) });
        assert_eq!(take(&board, bad()).1.certificate_not_after, Some(Timestamp::MAX));
    }

    #[test]
    fn what_is_no_target_any_more_is_forgotten_and_late_findings_of_it_count_nothing() {
        let board = board(&[&target()]);
        take(&board, bad());
        let mut other = target();
        other.endpoint.transport = Transport::Tls;
        board.configure(&BTreeSet::from([other.key()]), 0, 1000 * MS, "other".to_owned());
        board.take(&target(), None, bad(), Timestamp::UNIX_EPOCH, Instant::now());
        let said = board.verdicts(None, Timestamp::UNIX_EPOCH, Instant::now());
        assert_eq!((said.verdicts, said.config_hash.as_str()), (vec![], "other"));
    }

    #[test]
    fn a_security_alarm_is_told_once_and_makes_no_verdict_bad_and_one_that_fails_clears_nothing() {
        let board = board(&[&target()]);
        take(&board, good(&[1]));
        let alarm = Security {
            checked_at: Timestamp::UNIX_EPOCH,
            granted_peers: vec!["127.0.0.1".parse().unwrap()],
            accepts_wrong_password: false,
        };
        let key = target().key();
        assert_eq!(board.take_security(&key, Some(alarm.clone())), Some(alarm.clone()));
        assert_eq!(board.take_security(&key, Some(alarm.clone())), None);
        assert_eq!(board.take_security(&key, None), None);
        let (_, verdict) = take(&board, good(&[1]));
        assert_eq!((verdict.ok, verdict.security), (true, Some(alarm.clone())));
        let clear = Security { granted_peers: vec![], ..alarm.clone() };
        assert_eq!(board.take_security(&key, Some(clear)), None);
        assert_eq!(board.take_security(&key, Some(alarm.clone())), Some(alarm));
    }

    #[test]
    fn a_reader_is_told_what_is_new_to_it_with_its_age_and_a_restarted_prober_begins_anew() {
        let mut other = target();
        other.name = "b".to_owned();
        let board = board(&[&target(), &other]);
        let began = Instant::now();
        let take = |target: &Target, millis: u32| {
            board.take(target, None, good(&[1]), Timestamp::UNIX_EPOCH, began + MS * millis);
        };
        let told = |heard: Option<Heard>| {
            let said = board.verdicts(heard, Timestamp::UNIX_EPOCH, began + MS * 100);
            said.verdicts.iter().map(|one| (one.target.clone(), one.sequence, one.age_millis)).collect::<Vec<_>>()
        };
        take(&target(), 0);
        take(&other, 30);
        let boot = board.verdicts(None, Timestamp::UNIX_EPOCH, began).boot;
        assert_eq!(told(None), [("a".to_owned(), 1, 100), ("b".to_owned(), 2, 70)]);
        assert_eq!(told(Some(Heard { boot, after: 2 })), []);
        take(&target(), 60);
        assert_eq!(told(Some(Heard { boot, after: 2 })), [("a".to_owned(), 3, 40)]);
        assert_eq!(told(Some(Heard { boot: boot ^ 1, after: 1000 })).len(), 2);
    }

    #[test]
    fn any_answer_of_any_target_is_a_canary_where_none_is_configured() {
        let board = board(&[&target()]);
        let now = Instant::now();
        assert!(!board.canary(now).ok);
        let mut refused = bad();
        refused.report.heard = true;
        board.take(&target(), None, refused, Timestamp::UNIX_EPOCH, now);
        assert!(board.canary(now).ok);
        board.skip(Skip::NoSocket, now);
        assert!(!board.canary(now).ok);
        assert_eq!(board.skipped(Skip::NoSocket), 1);
    }
}
