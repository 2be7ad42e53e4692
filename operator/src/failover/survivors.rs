//! How much can the other regions carry?
//!
//! D is the load of all regions, C what the survivors carry at their cap, both in whole nodes. What they cannot carry, 1 −
//! C / D of all callers, stays where it was: overloading regions that work would fail their callers, too.

/// Percent of all callers that the survivors cannot carry: 0 to 100. Where something is not known, they can: a guess is no
/// reason to send callers to a region that fails.
pub fn cannot_carry(demand: Option<f64>, capacity: Option<f64>, cap_percent: u32) -> u32 {
    let (Some(demand), Some(capacity)) = (demand, capacity) else { return 0 };
    let carried = capacity * f64::from(cap_percent) / 100.0;
    if demand <= carried || demand <= 0.0 {
        return 0;
    }
    percent((1.0 - carried / demand) * 100.0)
}

/// The load of all regions, where one region with this percent of the callers fails and does not count: its callers are
/// cut off, so its own load says nothing.
pub fn demand(load_of_survivors: Option<f64>, failing_percent: u32) -> Option<f64> {
    let rest = f64::from(100 - failing_percent.min(99)) / 100.0;
    load_of_survivors.map(|load| load / rest)
}

/// Upwards in steps of five: loads move, and an answer should not follow each move.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
fn percent(of: f64) -> u32 {
    ((of / 5.0 - 1e-9).ceil().clamp(0.0, 20.0) as u32) * 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_survivors_cannot_carry_at_their_cap_is_left_in_steps_of_five_percent() {
        for (case, demand, capacity, expected) in [
            ("there is room", Some(6.0), Some(10.0), 0),
            ("just enough", Some(8.5), Some(10.0), 0),
            ("a little too much", Some(8.6), Some(10.0), 5),
            ("twice too much", Some(17.0), Some(10.0), 50),
            ("they carry nothing", Some(1.0), Some(0.0), 100),
            ("nobody knows the load", None, Some(1.0), 0),
            ("nobody knows what they carry", Some(9.0), None, 0),
            ("nobody calls", Some(0.0), Some(0.0), 0),
        ] {
            assert_eq!(cannot_carry(demand, capacity, 85), expected, "{case}");
        }
    }

    #[test]
    fn the_callers_of_a_dead_region_are_reckoned_from_those_of_the_others() {
        let demand = demand(Some(4.0), 20).unwrap();
        assert!((demand - 5.0).abs() < 1e-9);
    }
}
