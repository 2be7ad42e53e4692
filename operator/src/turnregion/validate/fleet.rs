//! How many relays, and how they come and go: `replicas`, `scaling` and `upgrade` of the spec.

use std::time::Duration;

use rtcfleet_crds::turn_region::{Scaling as Written, ScheduledMinimum, TurnRegionSpec, Upgrade};

use super::{Check, ValidateError};
use crate::fleet::policy::{Count, Policy, Scaling, Target};
use crate::fleet::schedule::Scheduled;

/// Where neither `replicas` nor `scaling` is written.
const DEFAULT_COUNT: u32 = 2;
const DEFAULT_DRAIN: Duration = Duration::from_hours(1);
const DEFAULT_PROGRESS: Duration = Duration::from_mins(10);
const DEFAULT_STABILIZATION: Duration = Duration::from_mins(5);
/// R6.3.
const DEFAULT_TARGET: u32 = 65;
/// R8.4.
const DEFAULT_HEADROOM: u32 = 200;
const DEFAULT_SURVIVOR: u32 = 85;

impl Check {
    pub(super) fn fleet(&mut self, spec: &TurnRegionSpec, upgrade: &Upgrade) -> Policy {
        let scale_down = spec.scaling.as_ref().and_then(|scaling| scaling.scale_down.clone()).unwrap_or_default();
        let max_draining = scale_down
            .max_draining
            .map(|most| self.count("scaling.scaleDown.maxDraining", Some(most), 1, 1..=500, "1 to 500"));
        Policy {
            count: self.number(spec.replicas, spec.scaling.as_ref()),
            max_unavailable: self.count("upgrade.maxUnavailable", upgrade.max_unavailable, 1, 1..=100, "1 to 100"),
            exchange_drain: self.duration("upgrade.drainDeadline", upgrade.drain_deadline.as_ref(), DEFAULT_DRAIN),
            retire_drain: self.duration(
                "scaling.scaleDown.drainDeadline",
                scale_down.drain_deadline.as_ref(),
                DEFAULT_DRAIN,
            ),
            max_draining,
            paused: upgrade.paused == Some(true),
            progress_deadline: self.duration(
                "upgrade.progressDeadline",
                upgrade.progress_deadline.as_ref(),
                DEFAULT_PROGRESS,
            ),
        }
    }

    fn number(&mut self, replicas: Option<i32>, scaling: Option<&Written>) -> Count {
        match (replicas, scaling) {
            (Some(count), _) => Count::External(self.count("replicas", Some(count), 0, 0..=500, "0 to 500")),
            (None, Some(scaling)) => Count::Follow(Box::new(self.scaling(scaling))),
            (None, None) => Count::Default(DEFAULT_COUNT),
        }
    }

    fn scaling(&mut self, scaling: &Written) -> Scaling {
        let Written { min, max, target, headroom, scale_down, schedule } = scaling;
        let target = target.clone().unwrap_or_default();
        let headroom = headroom.clone().unwrap_or_default();
        let stabilization = scale_down.as_ref().and_then(|down| down.stabilization.as_ref());
        let min = self.count("scaling.min", Some(*min), DEFAULT_COUNT, 1..=500, "1 to 500");
        let max = max.map(|max| self.count("scaling.max", Some(max), min, 1..=500, "1 to 500"));
        if let Some(max) = max.filter(|max| *max < min) {
            self.mistakes.push(ValidateError::MinAboveMax { min, max });
        }
        let mut percent = |path, written, default, allowed, range| self.count(path, written, default, allowed, range);
        let target = Target {
            nic_percent: percent("scaling.target.nicPercent", target.nic_percent, DEFAULT_TARGET, 10..=95, "10 to 95"),
            cpu_percent: percent("scaling.target.cpuPercent", target.cpu_percent, DEFAULT_TARGET, 10..=95, "10 to 95"),
        };
        let survivor = percent(
            "scaling.headroom.survivorPercent",
            headroom.survivor_percent,
            DEFAULT_SURVIVOR,
            50..=100,
            "50 to 100",
        );
        Scaling {
            min,
            max,
            target,
            headroom_percent: percent(
                "scaling.headroom.percent",
                headroom.percent,
                DEFAULT_HEADROOM,
                100..=1000,
                "100 to 1000",
            ),
            survivor_percent: headroom.survive_region_loss.unwrap_or(true).then_some(survivor),
            stabilization: self.duration("scaling.scaleDown.stabilization", stabilization, DEFAULT_STABILIZATION),
            schedule: self.schedule(schedule),
        }
    }

    fn schedule(&mut self, lines: &[ScheduledMinimum]) -> Vec<Scheduled> {
        let mut schedule = Vec::new();
        for (at, ScheduledMinimum { cron, time_zone, min }) in lines.iter().enumerate() {
            let min = self.count("scaling.schedule.min", Some(*min), 0, 0..=500, "0 to 500");
            match Scheduled::parse(cron, time_zone.as_deref().unwrap_or("UTC"), min) {
                Ok(line) => schedule.push(line),
                Err(source) => self.mistakes.push(ValidateError::Schedule { at, source }),
            }
        }
        schedule
    }
}
