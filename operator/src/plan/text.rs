//! An answer as people read it. Pure.

use super::question::{Answer, Wish};
use crate::fleet::rules;
use crate::fleet::scale::{Limit, relays_are};
use crate::table::{Align, Table};

pub(super) fn render(answer: &Answer<'_>) -> String {
    let Answer { region, serving, at_once, window, later } = answer;
    let serve = if *serving == 1 { "relay serves" } else { "relays serve" };
    let load = at_once.scale.load.up.whole;
    let mut lines =
        vec![format!("TurnRegion {}: {serving} {serve}, with the load of {load:.2} whole relays", region.name)];
    if !at_once.scale.rules.is_empty() {
        lines.extend([String::new(), rules_table(answer)]);
    }
    lines.push(String::new());
    lines.extend(wish("now", at_once));
    if later != at_once {
        lines.push(String::new());
        lines.extend(wish(&format!("after {} s of the same load", window.as_secs()), later));
    }
    lines.extend(region.not_in_effect.iter().map(|line| format!("\nnot in effect: {line}")));
    lines.join("\n") + "\n"
}

fn rules_table(answer: &Answer<'_>) -> String {
    let rules = &answer.at_once.scale.rules;
    let decides = rules::highest(rules);
    let mut table = Table::new(&[("rule", Align::Left), ("relays", Align::Right), ("", Align::Left)]);
    for wanted in rules {
        let mark = if Some(wanted) == decides { "<- the highest" } else { "" };
        table.row(vec![wanted.rule.to_string(), wanted.nodes.to_string(), mark.to_owned()]);
    }
    table.text("  ").trim_end().to_owned()
}

/// The number, what limits it and what is done for it, a line each.
fn wish(when: &str, wish: &Wish) -> Vec<String> {
    let Wish { scale, make, drain, drain_later } = wish;
    let mut lines = vec![format!("{when}: {} wanted ({})", relays_are(scale.desired), scale.reason)];
    lines.extend(scale.limited_by.iter().map(|limit| format!("  limited by {}: {}", limit.text(), remedy(*limit))));
    if !make.is_empty() {
        lines.push(format!("  make {}: {}", relays(make.len()), slots(make)));
    }
    if !drain.is_empty() {
        lines.push(format!("  drain {}: {}, the least busy", relays(drain.len()), slots(drain)));
    }
    if *drain_later > 0 {
        lines.push(format!("  then {} more, when others have drained (scaleDown.maxDraining)", relays(*drain_later)));
    }
    if make.is_empty() && drain.is_empty() {
        lines.push("  nothing to do".to_owned());
    }
    lines
}

fn relays(count: usize) -> String {
    if count == 1 { "1 relay".to_owned() } else { format!("{count} relays") }
}

fn slots(slots: &[u32]) -> String {
    let numbers: Vec<String> = slots.iter().map(ToString::to_string).collect();
    format!("{} {}", if slots.len() == 1 { "slot" } else { "slots" }, numbers.join(", "))
}

fn remedy(limit: Limit) -> &'static str {
    match limit {
        Limit::MaxReplicas => "raise spec.scaling.max if more may be made",
        Limit::NoMachine => "add machines, or let a cluster autoscaler do it",
        Limit::NoAddress => "give the machines addresses that spec.addresses finds",
        Limit::MetricsMissing => "fewer than half of the relays tell how busy they are",
        Limit::NicCapacityUnknown => "write spec.capacity.nic",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::question::Question;
    use super::*;
    use crate::fleet::policy::{Count, Scaling};
    use crate::fleet::test_support::{noon, policy, scaling};
    use crate::turnregion::file::FileRegion;

    fn told(scaling: Scaling, loads: &[f64], others: &[(String, f64)]) -> String {
        let region = FileRegion {
            name: "centralindia".into(),
            failover_group: Some("india".into()),
            fleet: policy(Count::Follow(Box::new(scaling))),
            not_in_effect: Vec::new(),
        };
        render(&Question::new(&region, loads.to_vec(), others, None).unwrap().answer(noon(), Instant::now()))
    }

    #[test]
    fn the_rules_the_number_and_what_is_done_for_it_are_told() {
        let text = told(Scaling { max: Some(4), ..scaling() }, &[0.7, 0.8, 0.8], &[("southindia".into(), 1.2)]);
        assert_eq!(
            text,
            "TurnRegion centralindia: 3 relays serve, with the load of 2.30 whole relays\n\
             \n  \
               rule                      relays\n  \
               Minimum                        2\n  \
               Target                         4\n  \
               Headroom                       5  <- the highest\n  \
               RegionLoss of southindia       5\n\
             \n\
             now: 4 relays are wanted (Headroom)\n  \
               limited by MaxReplicas: raise spec.scaling.max if more may be made\n  \
               make 1 relay: slot 3\n"
        );
    }

    #[test]
    fn what_waits_for_the_window_is_told_apart() {
        let text = told(scaling(), &[0.2, 0.1, 0.2, 0.2], &[]);
        assert!(text.contains("now: 4 relays are wanted (Stabilization)\n  nothing to do\n"), "{text}");
        let later = "\nafter 300 s of the same load: 2 relays are wanted (Minimum)\n  drain 1 relay: slot 1, the least busy\n  then 1 relay more, when others have drained (scaleDown.maxDraining)\n";
        assert!(text.ends_with(later), "{text}");
    }
}
