//! Which time the charts of a deployment show: what the query of its address says. A part of it is an address like
//! any other, so it can be shared, stays when the page updates, and needs no script.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::frame::moment;

/// Hours that are offered.
const HOURS: [u16; 3] = [24, 6, 1];

/// The time that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ShownTime {
    /// All that is known.
    #[default]
    All,
    /// The last hours.
    Last(u16),
    /// From one instant to another.
    Between(Timestamp, Timestamp),
}

impl ShownTime {
    /// What was asked. A time that there is not is as none.
    pub(super) fn read(last: Option<&str>, from: Option<&str>, to: Option<&str>) -> Self {
        let instant = |text: Option<&str>| text?.parse::<Timestamp>().ok();
        let hours = last.and_then(|text| text.parse().ok());
        match (hours, instant(from), instant(to)) {
            (Some(hours), ..) if hours > 0 => Self::Last(hours),
            (_, Some(from), Some(to)) if from < to => Self::Between(from, to),
            _ => Self::All,
        }
    }

    /// The part of `whole`, the time of all runs, that is shown at `now`; `None` when nothing of it is.
    pub(super) fn of(
        self,
        whole: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let (from, to) = match self {
            Self::All => whole,
            Self::Last(hours) => {
                let length = SignedDuration::from_hours(hours.into());
                (now.checked_sub(length).unwrap_or(whole.0), whole.1)
            }
            Self::Between(from, to) => (from, to),
        };
        let (from, to) = (from.max(whole.0), to.min(whole.1));
        (from <= to).then_some((from, to))
    }

    /// What of the query says so.
    pub(super) fn pairs(self) -> Vec<(&'static str, String)> {
        match self {
            Self::All => Vec::new(),
            Self::Last(hours) => vec![("last", hours.to_string())],
            Self::Between(from, to) => vec![("from", from.to_string()), ("to", to.to_string())],
        }
    }

    /// Where it is chosen. `others` are what else the query says, and stay.
    pub(super) fn choice(self, others: &[(&'static str, String)], now: Timestamp) -> Markup {
        let link = |time: Self, name: &str| {
            let pairs = time.pairs();
            let query = Serializer::new(String::new())
                .extend_pairs(pairs.iter().chain(others))
                .finish();
            html! {
                a.group href={ "?" (query) } aria-current=[(time == self).then_some("true")] { (name) }
            }
        };
        html! {
            div.groups.times role="group" aria-label="Time that the charts show" {
                (link(Self::All, "all runs"))
                @for hours in HOURS {
                    (link(Self::Last(hours), &if hours == 1 { "last hour".to_owned() } else { format!("last {hours} h") }))
                }
                @if let Self::Between(from, to) = self {
                    span.quiet { (moment(from, now)) " to " (moment(to, now)) }
                }
                // A script makes these work.
                button.scripted type="button" data-zoom="in" { "+ zoom in" }
                button.scripted type="button" data-zoom="out" { "− zoom out" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_is_read_and_written_alike_and_nonsense_is_all() {
        let part = ShownTime::Between(at("2026-03-01T06:00:00Z"), at("2026-03-01T07:00:00Z"));
        for time in [ShownTime::All, ShownTime::Last(6), part] {
            let pairs = time.pairs();
            let given = |name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!(
                ShownTime::read(given("last"), given("from"), given("to")),
                time
            );
        }
        for (last, from, to) in [
            (Some("0"), None, None),
            (Some("-3"), None, None),
            (Some("99999999999"), None, None),
            (None, Some("yesterday"), Some("2026-03-01T07:00:00Z")),
            (
                None,
                Some("2026-03-01T07:00:00Z"),
                Some("2026-03-01T06:00:00Z"),
            ),
            (None, Some("2026-03-01T07:00:00Z"), None),
        ] {
            assert_eq!(ShownTime::read(last, from, to), ShownTime::All, "{last:?}");
        }
    }

    #[test]
    fn a_part_is_one_of_what_there_is() {
        let whole = (at("2026-03-01T00:00:00Z"), at("2026-03-01T12:00:00Z"));
        let now = at("2026-03-01T13:00:00Z");
        assert_eq!(ShownTime::All.of(whole, now), Some(whole));
        let six = (at("2026-03-01T07:00:00Z"), whole.1);
        assert_eq!(ShownTime::Last(6).of(whole, now), Some(six));
        assert_eq!(ShownTime::Last(1).of(whole, now).unwrap().0, whole.1);
        assert_eq!(ShownTime::Last(u16::MAX).of(whole, now), Some(whole));
        let before = ShownTime::Between(at("2020-01-01T00:00:00Z"), at("2020-01-02T00:00:00Z"));
        assert_eq!(before.of(whole, now), None);
    }

    #[test]
    fn what_else_was_asked_stays() {
        let others = [("workload", "a&b".to_owned())];
        let now = at("2026-03-01T13:00:00Z");
        let choice = ShownTime::Last(6).choice(&others, now).into_string();
        assert!(choice.contains("href=\"?workload=a%26b\""), "{choice}");
        let current = "href=\"?last=6&amp;workload=a%26b\" aria-current=\"true\"";
        assert!(choice.contains(current), "{choice}");
    }
}
