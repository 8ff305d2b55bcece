//! Blackouts: the hours of the week in which a deployment is left alone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::instant;

/// A window of every week in which no run starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Blackout {
    /// On which days it begins, Monday first.
    days: [bool; 7],
    /// The first minute of it.
    from: Minute,
    /// The first minute after it; not after `from` when it lasts past midnight.
    to: Minute,
    zone: TimeZone,
}

impl Blackout {
    /// Reads a window such as `mon-fri`, `22:00`, `06:00`, which begins on the days named and may last past
    /// midnight. No days mean every day; `24:00` is the end of a day.
    ///
    /// # Errors
    ///
    /// Says what is wrong and how it would be right.
    pub fn parse(days: &str, from: &str, to: &str, zone: TimeZone) -> Result<Self, String> {
        let (from, to): (Minute, Minute) = (from.parse()?, to.parse()?);
        if from == Minute::END_OF_DAY {
            return Err(
                "a blackout cannot begin at 24:00; write 00:00 and the day after".to_owned(),
            );
        }
        if from == to {
            return Err(format!(
                "the blackout begins and ends at {from}; a whole day is 00:00 to 24:00"
            ));
        }
        Ok(Self {
            days: parse_days(days)?,
            from,
            to,
            zone,
        })
    }

    /// Whether `at` lies inside the window on the zone's wall clock. The beginning does, the end does not.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.begun_on(at).is_some()
    }

    /// The end of the window that covers `at`; `None` if none does.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let begun_on = self.begun_on(at)?;
        let past_midnight = self.to <= self.from || self.to == Minute::END_OF_DAY;
        let ends_on = if past_midnight {
            begun_on.tomorrow().ok()?
        } else {
            begun_on
        };
        instant(&self.zone, ends_on.to_datetime(self.to.time()))
    }

    /// The day on which the window that covers `at` began.
    fn begun_on(&self, at: Timestamp) -> Option<Date> {
        let wall_clock = self.zone.to_datetime(at);
        let minute = Minute::of(wall_clock.time());
        let today = wall_clock.date();
        let yesterday = today.yesterday().ok();
        if self.from < self.to {
            (self.on(today) && self.from <= minute && minute < self.to).then_some(today)
        } else if minute >= self.from && self.on(today) {
            Some(today)
        } else {
            yesterday.filter(|day| minute < self.to && self.on(*day))
        }
    }

    fn on(&self, day: Date) -> bool {
        self.days[day.weekday().to_monday_zero_offset().unsigned_abs() as usize]
    }
}

/// A minute of the day, from 00:00 to 24:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Minute(u16);

impl Minute {
    const END_OF_DAY: Self = Self(24 * 60);

    fn of(time: Time) -> Self {
        Self(u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs()))
    }

    /// As a time of day; the end of a day is the beginning of the next.
    fn time(self) -> Time {
        let of_day = self.0 % Self::END_OF_DAY.0;
        Time::midnight() + (i64::from(of_day)).minutes()
    }
}

impl FromStr for Minute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no time of day; write hours and minutes as in 22:00, at most 24:00"
            )
        };
        let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
        let digits = |field: &str| field.len() <= 2 && field.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || !digits(minute) || minute.len() != 2 {
            return Err(wrong());
        }
        let hour: u16 = hour.parse().map_err(|_| wrong())?;
        let minute: u16 = minute.parse().map_err(|_| wrong())?;
        let of_day = Self(hour * 60 + minute);
        if minute > 59 || of_day > Self::END_OF_DAY {
            return Err(wrong());
        }
        Ok(of_day)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads days and ranges of days, separated by commas; nothing means every day.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    if text.trim().is_empty() {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let day = |name| parse_day(name).ok_or_else(|| wrong_day(item));
        let (first, last) = (day(first)?, day(last)?);
        // A range may wrap: sat-mon is Saturday, Sunday and Monday.
        let length = (last + 7 - first) % 7;
        for day in first..=first + length {
            days[day % 7] = true;
        }
    }
    Ok(days)
}

fn parse_day(name: &str) -> Option<usize> {
    DAY_NAMES
        .iter()
        .position(|day| day.eq_ignore_ascii_case(name.trim()))
}

fn wrong_day(item: &str) -> String {
    format!(
        "`{item}` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_blackout_covers_its_days_even_past_midnight() {
        // 2 March 2026 is a Monday; Berlin is an hour ahead of UTC.
        for (days, from, to, moment, covered) in [
            ("mon-fri", "08:00", "18:00", "2026-03-02T06:59:59Z", false),
            ("mon-fri", "08:00", "18:00", "2026-03-02T07:00:00Z", true),
            ("mon-fri", "08:00", "18:00", "2026-03-02T16:59:59Z", true),
            ("mon-fri", "08:00", "18:00", "2026-03-02T17:00:00Z", false),
            ("mon-fri", "08:00", "18:00", "2026-03-07T09:00:00Z", false),
            ("mon", "22:00", "06:00", "2026-03-02T22:30:00Z", true),
            ("mon", "22:00", "06:00", "2026-03-03T04:59:00Z", true),
            ("mon", "22:00", "06:00", "2026-03-03T05:00:00Z", false),
            ("mon", "22:00", "06:00", "2026-03-02T04:59:00Z", false),
            ("sat,sun", "00:00", "24:00", "2026-03-08T22:59:59Z", true),
            ("sat,sun", "00:00", "24:00", "2026-03-08T23:00:00Z", false),
            ("sat-mon", "00:00", "24:00", "2026-03-02T12:00:00Z", true),
            ("", "12:00", "13:00", "2026-03-04T11:30:00Z", true),
        ] {
            let blackout = Blackout::parse(days, from, to, berlin()).unwrap();
            let case = format!("{days} {from}-{to} at {moment}");
            assert_eq!(blackout.covers(at(moment)), covered, "{case}");
            if let Some(end) = blackout.until(at(moment)) {
                assert!(covered && !blackout.covers(end), "{case} ends at {end}");
                assert!(blackout.covers(end - 1.second()), "{case} ends at {end}");
            }
        }
    }

    #[test]
    fn a_wrong_blackout_says_how_it_would_be_right() {
        let mistakes = [
            ("montag", "22:00", "06:00"),
            ("mon-", "22:00", "06:00"),
            ("mon", "22", "06:00"),
            ("mon", "24:00", "06:00"),
            ("mon", "22:00", "24:01"),
            ("mon", "00:00", "00:00"),
        ]
        .map(|(days, from, to)| Blackout::parse(days, from, to, berlin()).unwrap_err());
        insta::assert_snapshot!(mistakes.join("\n"), @r"
        `montag` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun
        `mon-` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun
        `22` is no time of day; write hours and minutes as in 22:00, at most 24:00
        a blackout cannot begin at 24:00; write 00:00 and the day after
        `24:01` is no time of day; write hours and minutes as in 22:00, at most 24:00
        the blackout begins and ends at 00:00; a whole day is 00:00 to 24:00
        ");
    }
}
