//! Between which runs of a series something changed, and which runs may be compared. Whoever goes over the runs of a
//! series goes by this one rule.

use std::mem;

/// What lies between a run and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The environment is another one.
    Change,
    /// The server was started anew, and nothing else is known to have changed.
    Restart,
}

/// Where a series stands between two of its runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boundaries {
    /// Of the environment, as far as it is known; `None` before the first run.
    fingerprint: Option<String>,
    /// Whether the next run that is valid finds cold caches.
    is_cold: bool,
}

impl Boundaries {
    /// Takes in the next run, which was in the environment of that fingerprint, empty when nothing is known of it, and
    /// says whether the server was `restarted`.
    pub fn cross(&mut self, fingerprint: &str, restarted: bool) -> Option<Boundary> {
        let is_first = self.fingerprint.is_none();
        let known = self.fingerprint.get_or_insert_default();
        // What was not known and is known now, or the other way round, has not changed.
        let is_told = !known.is_empty() && !fingerprint.is_empty();
        let boundary = if is_told && *known != fingerprint {
            Some(Boundary::Change)
        } else {
            (restarted && !is_first).then_some(Boundary::Restart)
        };
        if known.is_empty() || boundary == Some(Boundary::Change) {
            fingerprint.clone_into(known);
        }
        self.is_cold |= boundary.is_some();
        boundary
    }

    /// Whether the run that was taken in may be compared: it is valid, its traffic is its own, and its caches are
    /// warm. One that is invalid warms nothing, so the next is as cold.
    pub fn is_clean(&mut self, valid: bool, contaminated: bool) -> bool {
        valid && !mem::take(&mut self.is_cold) && !contaminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_known_is_no_change() {
        let mut boundaries = Boundaries::default();
        let told: Vec<_> = ["", "a", "", "a", "b", "", "a"]
            .into_iter()
            .map(|fingerprint| boundaries.cross(fingerprint, false))
            .collect();
        let change = Some(Boundary::Change);
        assert_eq!(told, [None, None, None, None, change, None, change]);
    }

    #[test]
    fn a_restart_is_one_from_the_second_run_on() {
        let mut boundaries = Boundaries::default();
        assert_eq!(boundaries.cross("a", true), None);
        assert_eq!(boundaries.cross("a", true), Some(Boundary::Restart));
        assert_eq!(boundaries.cross("b", true), Some(Boundary::Change));
    }

    #[test]
    fn the_first_valid_run_after_a_boundary_is_cold() {
        let mut boundaries = Boundaries::default();
        let mut take = |restarted, valid, contaminated| {
            boundaries.cross("a", restarted);
            boundaries.is_clean(valid, contaminated)
        };
        assert!(take(false, true, false));
        assert!(!take(false, true, true));
        assert!(!take(true, false, false));
        assert!(!take(false, true, false), "the invalid one warmed nothing");
        assert!(take(false, true, false));
        assert!(!take(true, true, true));
        assert!(take(false, true, false), "others' requests warm it too");
    }
}
