//! What the last run of a probe came to, in a word or two.

use jiff::Timestamp;

use crate::board::ProbeStatus;

/// The last run in a word or two.
pub fn last_run_in_words(probe: &ProbeStatus, stale_after: u32, now: Timestamp) -> String {
    let Some(last) = &probe.last else {
        return if probe.in_progress {
            "first run".to_owned()
        } else {
            "none yet".to_owned()
        };
    };
    if probe.current(stale_after, now).is_none() {
        return "stale".to_owned();
    }
    let reasons: Vec<&str> = last
        .outcome
        .invalid_reasons()
        .iter()
        .map(|reason| reason.label())
        .collect();
    if reasons.is_empty() {
        "ok".to_owned()
    } else {
        reasons.join(", ")
    }
}
