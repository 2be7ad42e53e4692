//! From samples to what they say of the last seconds. Pure: `Sample::at` is the clock.
// Rates and shares need no more than 52 bits.
#![allow(clippy::cast_precision_loss)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rtcfleet_node_api::{CpuLoad, Load, NicCapacity, NicLoad, Rate};

use super::procfs::{CpuTime, Nic, Traffic};

/// One look at the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub at: Instant,
    /// Used by this process so far.
    pub process_cpu: Duration,
    /// Processors that the process may use; a fraction under a limit.
    pub cpus: f64,
    pub cpu: CpuTime,
    pub nic: Option<NicSample>,
}

/// The interface that relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSample {
    pub interface: String,
    pub counts: Nic,
    /// Of packets that were to be sent. None if the kernel did not tell.
    pub queue_drops: Option<u64>,
    pub capacity: NicCapacity,
}

/// The last samples, the oldest first.
#[derive(Debug, Default)]
pub struct Window(VecDeque<Sample>);

impl Window {
    /// Three spans between samples make a window: 15 s at a sample every 5 s.
    const SAMPLES: usize = 4;

    pub fn push(&mut self, sample: Sample) {
        if self.0.len() >= Self::SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// From the oldest sample to the newest. None before there are two.
    pub fn load(&self) -> Option<Load> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then(|| Load { window_seconds: seconds, cpu: self.cpu(last.cpus, seconds), nic: self.nic() })
    }

    fn cpu(&self, cpus: f64, seconds: f64) -> CpuLoad {
        let grown = |of: fn(&Sample) -> u64| grown(self.0.iter().map(of)) as f64;
        let total = grown(|sample| sample.cpu.total);
        let micros = grown(|sample| u64::try_from(sample.process_cpu.as_micros()).unwrap_or(u64::MAX));
        CpuLoad {
            process_percent: percent(micros / 1e6, seconds * cpus),
            machine_percent: percent(grown(|sample| sample.cpu.busy), total),
            softirq_percent: percent(grown(|sample| sample.cpu.softirq), total),
        }
    }

    /// Over those of the samples that are of the same interface as the newest.
    fn nic(&self) -> Option<NicLoad> {
        let newest = self.0.back()?.nic.as_ref()?;
        let same = |sample: &&Sample| sample.nic.as_ref().is_some_and(|nic| nic.interface == newest.interface);
        let samples: Vec<&Sample> = self.0.iter().rev().take_while(same).collect();
        let (last, first) = (samples.first()?, samples.last()?);
        let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let nics = || samples.iter().rev().filter_map(|sample| sample.nic.as_ref());
        let rate = |direction: fn(&Nic) -> Traffic| {
            let traffic = || nics().map(|nic| direction(&nic.counts));
            Rate {
                bits_per_second: per_second(grown(traffic().map(|t| t.bytes)).saturating_mul(8), seconds),
                packets_per_second: per_second(grown(traffic().map(|t| t.packets)), seconds),
                drops_per_second: per_second(grown(traffic().map(|t| t.drops)), seconds),
            }
        };
        let mut sent = rate(|nic| nic.sent);
        sent.drops_per_second += per_second(grown(nics().filter_map(|nic| nic.queue_drops)), seconds);
        Some(NicLoad {
            interface: newest.interface.clone(),
            sent,
            received: rate(|nic| nic.received),
            capacity: newest.capacity,
        })
    }
}

/// How far a counter went up. Where it goes down it was set back, by a driver or because the interface was made anew
/// (and the kernel sets iowait back a little now and then); what it went up to since then is not known, so that span
/// counts nothing: neither 2^64 nor all that an adapter counted before.
fn grown(counts: impl Iterator<Item = u64>) -> u64 {
    let mut before = None;
    counts.fold(0_u64, |sum, count| sum.saturating_add(count.saturating_sub(before.replace(count).unwrap_or(count))))
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // neither negative nor beyond 64 bits
fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use rtcfleet_node_api::CapacitySource;

    const CAPACITY: NicCapacity = NicCapacity {
        source: CapacitySource::Configured,
        sent_bits_per_second: Some(1_000_000_000),
        received_bits_per_second: Some(1_000_000_000),
        packets_per_second: None,
    };

    struct Story {
        start: Instant,
        window: Window,
    }

    impl Story {
        fn new() -> Self {
            Self { start: Instant::now(), window: Window::default() }
        }

        /// A sample at `second`, with `bytes` sent by then.
        fn nic(&mut self, second: u64, interface: &str, bytes: u64) -> &mut Self {
            let traffic = Traffic { bytes, packets: bytes / 100, drops: bytes / 1000 };
            let counts = Nic { sent: traffic, received: Traffic::default() };
            self.push(
                second,
                CpuTime::default(),
                Some(NicSample { interface: interface.into(), counts, queue_drops: None, capacity: CAPACITY }),
            )
        }

        fn push(&mut self, second: u64, cpu: CpuTime, nic: Option<NicSample>) -> &mut Self {
            let at = self.start + Duration::from_secs(second);
            self.window.push(Sample { at, process_cpu: Duration::from_secs(second), cpus: 4.0, cpu, nic });
            self
        }

        fn sent(&self) -> Option<Rate> {
            Some(self.window.load()?.nic?.sent)
        }
    }

    #[test]
    fn one_sample_says_nothing_yet() {
        let mut story = Story::new();
        assert_eq!(story.window.load(), None);
        assert_eq!(story.nic(0, "eth0", 100).window.load(), None);
        assert_eq!(story.nic(0, "eth0", 200).window.load(), None, "no time has passed");
    }

    #[test]
    fn rates_are_over_the_last_fifteen_seconds() {
        let mut story = Story::new();
        for (second, bytes) in [(0, 9_000_000), (5, 10_000_000), (10, 11_000_000), (15, 12_000_000), (20, 13_000_000)] {
            story.nic(second, "eth0", bytes);
        }
        let load = story.window.load().unwrap();
        assert!((load.window_seconds - 15.0).abs() < 1e-9);
        let expected = Rate { bits_per_second: 1_600_000, packets_per_second: 2000, drops_per_second: 200 };
        assert_eq!(story.sent(), Some(expected));
        assert_eq!(load.nic.unwrap().received, Rate::default());
    }

    #[test]
    fn a_counter_that_was_set_back_counts_nothing_for_that_span() {
        let mut story = Story::new();
        story.nic(0, "eth0", 4_000_000_000).nic(5, "eth0", 4_001_000_000).nic(10, "eth0", 500);
        assert_eq!(story.sent().unwrap().bits_per_second, 800_000);
    }

    #[test]
    fn a_queue_that_was_not_told_of_for_once_has_not_dropped_everything_since() {
        let mut story = Story::new();
        for (second, drops) in [(0, Some(5000)), (5, None), (10, Some(5100))] {
            story.nic(second, "eth0", 0);
            let nic = story.window.0.back_mut().and_then(|sample| sample.nic.as_mut()).unwrap();
            nic.queue_drops = drops;
        }
        assert_eq!(story.sent().unwrap().drops_per_second, 10);
    }

    #[test]
    fn another_interface_starts_anew() {
        let mut story = Story::new();
        story.nic(0, "eth0", 5_000).nic(5, "eth0", 6_000).nic(10, "eth1", 9_000_000);
        assert_eq!(story.sent(), None);
        assert_eq!(story.nic(15, "eth1", 9_001_250).sent().unwrap().bits_per_second, 2000);
        let at = CpuTime::default();
        assert_eq!(story.push(20, at, None).sent(), None, "gone");
    }

    #[test]
    fn processor_time_is_told_in_percent_of_what_the_process_may_use() {
        let mut story = Story::new();
        let before = CpuTime { total: 1000, busy: 500, softirq: 100 };
        story.push(0, before, None).push(10, CpuTime { total: 5000, busy: 2500, softirq: 300 }, None);
        let cpu = story.window.load().unwrap().cpu;
        assert_eq!((cpu.process_percent, cpu.machine_percent, cpu.softirq_percent), (25.0, 50.0, 5.0));
    }

    #[test]
    fn a_burst_above_a_limit_is_no_more_than_all_of_it() {
        let mut story = Story::new();
        story.push(0, CpuTime::default(), None).push(10, CpuTime::default(), None);
        for sample in &mut story.window.0 {
            sample.cpus = 0.5;
        }
        let cpu = story.window.load().unwrap().cpu;
        assert_eq!((cpu.process_percent, cpu.machine_percent), (100.0, 0.0));
    }

    proptest! {
        #[test]
        fn no_order_of_counts_makes_a_rate_that_no_span_had(counts in vec(0..=u64::MAX / 16, 2..12)) {
            let mut story = Story::new();
            for (index, count) in counts.iter().enumerate() {
                story.nic(index as u64 * 5, "eth0", *count);
            }
            let last = &counts[counts.len().saturating_sub(4)..];
            let steepest = last.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0);
            let rate = story.sent().unwrap().bits_per_second;
            // Rates are computed in floats.
            prop_assert!(rate as f64 <= steepest as f64 * 8.0 / 5.0 * 1.001 + 1.0, "{rate} {steepest}");
        }

        #[test]
        fn memory_is_bounded(seconds in vec(0..1000_u64, 0..50)) {
            let mut story = Story::new();
            for second in seconds {
                story.nic(second, "eth0", second);
                prop_assert!(story.window.0.len() <= Window::SAMPLES);
            }
        }
    }
}
