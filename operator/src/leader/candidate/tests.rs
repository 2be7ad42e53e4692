use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

fn record(holder: &str, version: &str) -> Record {
    Record {
        holder: holder.into(),
        transitions: 4,
        lease: Duration::from_secs(10),
        acquired: None,
        version: version.into(),
    }
}

#[test]
fn the_lease_is_taken_only_from_nobody_or_from_a_holder_that_we_saw_silent_for_its_whole_length() {
    let start = Instant::now();
    let timing = Timing::default();
    let seen = |holder: &str| Some(Seen { record: record(holder, "1"), since: start });
    for (case, seen, after, expected) in [
        ("no record", None, 0, Step::Create),
        ("released", seen(""), 0, Step::Acquire),
        ("ours, written by a request whose answer was lost", seen("me"), 0, Step::Renew),
        ("just seen, whatever its times say", seen("other"), 0, Step::Wait(Duration::from_secs(10))),
        ("nearly over", seen("other"), 9, Step::Wait(Duration::from_secs(1))),
        ("over", seen("other"), 10, Step::Acquire),
    ] {
        let now = start + Duration::from_secs(after);
        assert_eq!(decide("me", seen.as_ref(), &timing, now), expected, "{case}");
    }
}

#[test]
fn a_record_that_claims_a_longer_lease_is_believed_up_to_a_minute() {
    let start = Instant::now();
    let claims = |seconds| {
        let record = Record { lease: Duration::from_secs(seconds), ..record("other", "1") };
        decide("me", Some(&Seen { record, since: start }), &Timing::default(), start)
    };
    assert_eq!(claims(30), Step::Wait(Duration::from_secs(30)));
    assert_eq!(claims(86_400), Step::Wait(Duration::from_mins(1)));
    assert_eq!(claims(1), Step::Wait(Duration::from_secs(10)), "nor does a shorter one make us hasty");
}

#[test]
fn a_takeover_counts_one_transition_more_and_names_the_version_that_was_judged() {
    let mut candidate = Candidate::new("me".into(), Timing::default());
    let now = Instant::now();
    assert_eq!(candidate.next(now, 0.0), Action::Read);
    candidate.answered(&Action::Read, now, now, Answer::Record(Some(record("", "41"))));
    let claim = Record {
        holder: "me".into(),
        transitions: 5,
        lease: Duration::from_secs(10),
        acquired: None,
        version: "41".into(),
    };
    let action = candidate.next(now, 0.0);
    assert_eq!(action, Action::Replace(claim.clone()));
    let acquired = Some("2026-01-01T12:00:00Z".parse().unwrap());
    let written = Record { version: "42".into(), acquired, ..claim };
    candidate.answered(&action, now, now + Duration::from_secs(1), Answer::Record(Some(written.clone())));

    let (fence, until) = candidate.leads(now).unwrap();
    assert_eq!(fence, Fence { holder: "me".into(), transitions: 5 });
    assert_eq!(until, now + Duration::from_secs(7), "from the start of the request, not from its answer");
    assert_eq!(candidate.next(now, 0.0), Action::Sleep(Duration::from_secs(2)));
    assert_eq!(
        candidate.next(now, 0.0),
        Action::Replace(written),
        "the renewal needs no read, and keeps since when it is ours"
    );
}

fn leading(now: Instant) -> Candidate {
    let mut candidate = Candidate::new("me".into(), Timing::default());
    candidate.answered(&Action::Read, now, now, Answer::Record(None));
    let action = candidate.next(now, 0.0);
    candidate.answered(&action, now, now, Answer::Record(Some(record("me", "1"))));
    assert!(candidate.leads(now).is_some());
    candidate
}

#[test]
fn a_holder_that_cannot_renew_leaves_before_anybody_may_take_over() {
    let start = Instant::now();
    let mut candidate = leading(start);
    let mut now = start;
    let left = loop {
        match candidate.next(now, 0.0) {
            Action::Sleep(pause) => now += pause,
            Action::Leave(lost) => break lost,
            action => candidate.answered(&action, now, now, Answer::Failed),
        }
    };
    assert_eq!(left, Lost::Deadline);
    assert!(now - start >= Duration::from_secs(7) && now - start < Duration::from_secs(10), "{:?}", now - start);
    assert_eq!(candidate.leads(now), None);
}

#[test]
fn a_holder_whose_lease_names_another_or_is_gone_leaves_at_once() {
    for (case, found, expected) in [
        ("taken", Some(record("other", "9")), Lost::Taken { by: "other".into() }),
        ("emptied by hand", Some(record("", "9")), Lost::Taken { by: String::new() }),
        ("deleted", None, Lost::Deleted),
    ] {
        let now = Instant::now();
        let mut candidate = leading(now);
        candidate.next(now, 0.0);
        let renewal = candidate.next(now, 0.0);
        candidate.answered(&renewal, now, now, Answer::Conflict);
        assert_eq!(candidate.next(now, 0.0), Action::Read, "{case}");
        candidate.answered(&Action::Read, now, now, Answer::Record(found));
        assert_eq!(candidate.next(now, 0.0), Action::Leave(expected), "{case}");
        assert_eq!(candidate.leads(now), None, "{case}");
    }
}

#[test]
fn a_renewal_whose_answer_was_lost_does_not_end_leading() {
    let now = Instant::now();
    let mut candidate = leading(now);
    candidate.next(now, 0.0);
    let renewal = candidate.next(now, 0.0);
    candidate.answered(&renewal, now, now, Answer::Failed);
    assert!(matches!(candidate.next(now, 0.0), Action::Sleep(_)));
    assert_eq!(candidate.next(now, 0.0), Action::Read);
    candidate.answered(&Action::Read, now, now, Answer::Record(Some(record("me", "2"))));
    assert_eq!(candidate.next(now, 0.0), Action::Replace(record("me", "2")));
}

#[test]
fn a_standby_looks_again_at_the_moment_at_which_the_lease_is_over() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".into(), Timing::default());
    candidate.answered(&Action::Read, start, start, Answer::Record(Some(record("other", "1"))));
    let now = start + Duration::from_millis(9_500);
    assert_eq!(candidate.next(now, 0.9), Action::Sleep(Duration::from_millis(500)));
}

/// Candidates with their own clocks, requests that take time both ways or get lost, and an API server that compares
/// versions.
struct World {
    clock: Duration,
    origin: Instant,
    stored: Option<Record>,
    written: u64,
    candidates: Vec<Running>,
    /// Requests whose sender has given them up: they arrive nevertheless.
    given_up: Vec<(Duration, usize, Action)>,
    story: Vec<String>,
    holders: Vec<String>,
}

struct Running {
    candidate: Candidate,
    /// How fast its clock runs, in thousandths.
    rate: u32,
    state: State,
    started: u64,
}

enum State {
    Idle {
        until: Duration,
    },
    /// On its way to the API server.
    Asking {
        action: Action,
        sent: Instant,
        arrives: Duration,
        answer_after: Duration,
    },
    /// On its way back.
    Answered {
        action: Action,
        sent: Instant,
        answer: Answer,
        arrives: Duration,
    },
    /// The process has ended; another one starts then.
    Dead {
        until: Duration,
    },
}

/// One draw of what the network and the machine do to the next request.
#[derive(Clone, Copy, Debug)]
struct Weather {
    there: u16,
    back: u16,
    lost: bool,
    crash: bool,
    jitter: u8,
}

impl World {
    fn new(rates: &[u32]) -> Self {
        let candidates = rates
            .iter()
            .enumerate()
            .map(|(at, rate)| Running {
                candidate: Candidate::new(format!("{at}_0"), Timing::default()),
                rate: *rate,
                state: State::Idle { until: Duration::ZERO },
                started: 0,
            })
            .collect();
        Self {
            clock: Duration::ZERO,
            origin: Instant::now(),
            stored: None,
            written: 0,
            candidates,
            given_up: Vec::new(),
            story: Vec::new(),
            holders: Vec::new(),
        }
    }

    /// What candidate `at` reads from its own clock.
    fn local(&self, at: usize, time: Duration) -> Instant {
        self.origin + time * self.candidates[at].rate / 1000
    }

    /// Real time that passes while candidate `at` counts `pause`.
    fn real(&self, at: usize, pause: Duration) -> Duration {
        pause * 1000 / self.candidates[at].rate
    }

    fn next_event(&self) -> (Duration, usize) {
        let time = |running: &Running| match &running.state {
            State::Idle { until } | State::Dead { until } => *until,
            State::Asking { arrives, .. } | State::Answered { arrives, .. } => *arrives,
        };
        self.candidates.iter().enumerate().map(|(at, running)| (time(running), at)).min().unwrap()
    }

    fn step(&mut self, weather: Weather) -> Result<(), TestCaseError> {
        let (time, at) = self.next_event();
        while let Some(first) = (0..self.given_up.len()).min_by_key(|n| self.given_up[*n].0)
            && self.given_up[first].0 <= time
        {
            let (arrives, from, action) = self.given_up.swap_remove(first);
            self.clock = self.clock.max(arrives);
            self.serve(from, &action);
        }
        self.clock = self.clock.max(time);
        self.one_at_the_most()?;
        let now = self.local(at, self.clock);
        match std::mem::replace(&mut self.candidates[at].state, State::Dead { until: Duration::ZERO }) {
            State::Idle { .. } | State::Dead { .. } if weather.crash => self.restart(at),
            State::Dead { .. } => self.restart(at),
            State::Idle { .. } => match self.candidates[at].candidate.next(now, f64::from(weather.jitter) / 256.0) {
                Action::Sleep(pause) => {
                    let until = self.clock + self.real(at, pause);
                    self.candidates[at].state = State::Idle { until };
                }
                Action::Leave(lost) => {
                    self.tell(at, &format!("leaves: {lost}"));
                    self.restart(at);
                }
                action => {
                    let arrives = self.clock + Duration::from_millis(weather.there.into());
                    let answer_after = Duration::from_millis(weather.back.into());
                    self.candidates[at].state = if weather.lost {
                        self.given_up.push((arrives, at, action.clone()));
                        State::Answered {
                            action,
                            sent: now,
                            answer: Answer::Failed,
                            arrives: self.clock + answer_after,
                        }
                    } else {
                        State::Asking { action, sent: now, arrives, answer_after }
                    };
                }
            },
            State::Asking { action, sent, answer_after, .. } => {
                let answer = self.serve(at, &action);
                let arrives = self.clock + answer_after;
                self.candidates[at].state = State::Answered { action, sent, answer, arrives };
            }
            State::Answered { action, sent, answer, .. } => {
                self.candidates[at].candidate.answered(&action, sent, now, answer);
                self.candidates[at].state = State::Idle { until: self.clock };
            }
        }
        self.one_at_the_most()
    }

    /// The same pod starts another process, under another identity.
    fn restart(&mut self, at: usize) {
        let running = &mut self.candidates[at];
        running.started += 1;
        running.candidate = Candidate::new(format!("{at}_{}", running.started), Timing::default());
        running.state = State::Idle { until: self.clock + Duration::from_secs(1) };
        self.tell(at, "starts again");
    }

    fn serve(&mut self, at: usize, action: &Action) -> Answer {
        let version = self.stored.as_ref().map(|record| record.version.clone());
        match action {
            Action::Create(record) if version.is_none() => self.write(at, record),
            Action::Replace(record) if version.as_ref() == Some(&record.version) => self.write(at, record),
            Action::Create(_) | Action::Replace(_) => Answer::Conflict,
            Action::Read | Action::Sleep(_) | Action::Leave(_) => Answer::Record(self.stored.clone()),
        }
    }

    fn write(&mut self, at: usize, record: &Record) -> Answer {
        self.written += 1;
        let record = Record { version: self.written.to_string(), ..record.clone() };
        self.tell(at, &format!("writes version {} as {}", record.version, record.holder));
        if self.holders.last() != Some(&record.holder) {
            self.holders.push(record.holder.clone());
        }
        self.stored = Some(record.clone());
        Answer::Record(Some(record))
    }

    fn one_at_the_most(&self) -> Result<(), TestCaseError> {
        let leading: BTreeMap<_, _> = (0..self.candidates.len())
            .filter_map(|at| {
                let (fence, _) = self.candidates[at].candidate.leads(self.local(at, self.clock))?;
                Some((fence.transitions, fence.holder))
            })
            .collect();
        let count = (0..self.candidates.len())
            .filter(|at| self.candidates[*at].candidate.leads(self.local(*at, self.clock)).is_some())
            .count();
        prop_assert!(count <= 1, "{leading:?} all lead at {:?}\n{}", self.clock, self.story.join("\n"));
        Ok(())
    }

    fn tell(&mut self, at: usize, what: &str) {
        self.story.push(format!("{:>9.3} s  candidate {at} {what}", self.clock.as_secs_f64()));
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    // Mostly fair; now and then slower than every deadline.
    let delay = prop_oneof![8 => 0..200_u16, 2 => 0..4_000_u16, 1 => 5_000..14_000_u16];
    let rarely = |n: u32| prop_oneof![n => Just(false), 1 => Just(true)];
    (delay.clone(), delay, rarely(9), rarely(30), any::<u8>()).prop_map(|(there, back, lost, crash, jitter)| Weather {
        there,
        back,
        lost,
        crash,
        jitter,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_delays_losses_and_crashes_makes_two_lead_at_once(
        rates in proptest::collection::vec(900..1_100_u32, 2..4),
        weather in proptest::collection::vec(weather(), 1..400),
    ) {
        let mut world = World::new(&rates);
        for weather in weather {
            world.step(weather)?;
        }
    }

    #[test]
    fn in_fair_weather_one_leads_within_two_rounds_and_stays(jitter: u8) {
        let mut world = World::new(&[1_000, 1_000]);
        let fair = Weather { there: 5, back: 5, lost: false, crash: false, jitter };
        while world.clock < Duration::from_mins(10) {
            world.step(fair)?;
        }
        prop_assert_eq!(world.holders.len(), 1, "{}", world.story.join("\n"));
        prop_assert!(world.written > 200, "it renews every 2.0 to 2.4 s");
    }
}

#[test]
fn a_killed_leader_is_replaced_in_less_than_fifteen_seconds() {
    for jitter in [0, 128, 255] {
        let mut world = World::new(&[1_000, 1_000]);
        let fair = Weather { there: 20, back: 20, lost: false, crash: false, jitter };
        while world.clock < Duration::from_mins(1) {
            world.step(fair).unwrap();
        }
        let leader = world.candidates.iter().position(|c| c.candidate.leads(world.local(0, world.clock)).is_some());
        let leader = leader.expect("one leads");
        let killed = world.clock;
        world.candidates[leader].candidate = Candidate::new("gone".into(), Timing::default());
        world.candidates[leader].state = State::Dead { until: killed + Duration::from_mins(10) };
        let successor = 1 - leader;
        while world.candidates[successor].candidate.leads(world.local(successor, world.clock)).is_none() {
            world.step(fair).unwrap();
        }
        let took = world.clock.saturating_sub(killed);
        assert!(took < Duration::from_secs(15), "{took:?}\n{}", world.story.join("\n"));
    }
}
