//! The timetable: a minimum that holds from one of its times to the next.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One line of a timetable.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// As written, for equality and for people.
    text: String,
    cron: croner::Cron,
    zone: TimeZone,
    pub min: u32,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone, self.min) == (&other.text, &other.zone, other.min)
    }
}

/// Why a line is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotScheduled {
    #[error("cron {0:?} is no time: write minute, hour, day, month and weekday, such as \"50 7 * * 1-5\"")]
    Cron(String),
    #[error("timeZone {0:?} is not known: write a name of the IANA database, such as Asia/Kolkata or UTC")]
    Zone(String),
}

impl Scheduled {
    /// Five fields of cron, and the name of a time zone.
    pub fn parse(cron: &str, zone: &str, min: u32) -> Result<Self, NotScheduled> {
        let not_cron = || NotScheduled::Cron(cron.to_owned());
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .year(croner::parser::Year::Disallowed)
            .build();
        let parsed = parser.parse(cron).map_err(|_| not_cron())?;
        let known = TimeZone::get(zone).map_err(|_| NotScheduled::Zone(zone.to_owned()))?;
        let scheduled = Self { text: cron.to_owned(), cron: parsed, zone: known, min };
        // A date that never comes, such as 30 February.
        match scheduled.last(Timestamp::UNIX_EPOCH).or_else(|| scheduled.next(Timestamp::UNIX_EPOCH)) {
            Some(_) => Ok(scheduled),
            None => Err(not_cron()),
        }
    }

    fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&now.to_zoned(self.zone.clone()), true).ok()?;
        Some(found.timestamp())
    }

    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&now.to_zoned(self.zone.clone()), false).ok()?;
        Some(found.timestamp())
    }
}

/// The minimum of the line whose time came last; of lines with the same time the highest. 0 where there is none.
pub fn minimum(schedule: &[Scheduled], now: Timestamp) -> u32 {
    let fired = schedule.iter().filter_map(|line| Some((line.last(now)?, line.min)));
    fired.max().map_or(0, |(_, min)| min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cron: &str, min: u32) -> Scheduled {
        Scheduled::parse(cron, "Asia/Kolkata", min).unwrap()
    }

    #[test]
    fn a_minimum_holds_from_its_time_to_the_next_one_in_its_own_time_zone() {
        let school = [line("50 7 * * 1-5", 12), line("0 16 * * 1-5", 2)];
        // Kolkata is 5 h 30 min ahead of UTC.
        for (case, now, expected) in [
            ("Monday before school", "2026-02-02T02:19:00Z", 2),
            ("at the minute", "2026-02-02T02:20:00Z", 12),
            ("at noon", "2026-02-02T06:30:00Z", 12),
            ("after school", "2026-02-02T10:30:00Z", 2),
            ("on Sunday it is still Friday evening's", "2026-02-01T06:30:00Z", 2),
        ] {
            assert_eq!(minimum(&school, now.parse().unwrap()), expected, "{case}");
        }
        assert_eq!(minimum(&[], "2026-02-02T02:20:00Z".parse().unwrap()), 0);
    }

    #[test]
    fn of_two_lines_with_the_same_time_the_higher_counts() {
        let two = [line("0 8 * * *", 3), line("0 8 * * 1", 7)];
        assert_eq!(minimum(&two, "2026-02-02T06:00:00Z".parse().unwrap()), 7, "on a Monday");
        assert_eq!(minimum(&two, "2026-02-03T06:00:00Z".parse().unwrap()), 3, "on a Tuesday");
    }

    #[test]
    fn what_is_no_time_or_zone_is_refused_with_an_example() {
        for cron in ["", "0 8", "61 8 * * *", "0 0 8 * * *", "0 8 30 2 *", "at noon"] {
            let error = Scheduled::parse(cron, "UTC", 1).expect_err(cron).to_string();
            assert!(error.contains("such as \"50 7 * * 1-5\""), "{cron}: {error}");
        }
        let error = Scheduled::parse("0 8 * * *", "India", 1).unwrap_err().to_string();
        assert!(error.contains("such as Asia/Kolkata"), "{error}");
    }
}
