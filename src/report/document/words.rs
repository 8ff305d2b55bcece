//! What judges say of a change, as a reader of the page would say it.

use crate::comparison::{Change, Story, counted};
use crate::environment::FieldChange;
use crate::verdict::{Compared, Comparison, Decision, Good, Measure, Verdict};

/// What changed, such as `driver 580.95.05 → 590.01.01`.
pub(super) fn fields(changes: &[FieldChange]) -> String {
    if changes.is_empty() {
        return "the environment".to_owned();
    }
    let words = changes.iter().map(|change| {
        format!(
            "{} {} → {}",
            change.field.label(),
            change.before,
            change.after
        )
    });
    words.collect::<Vec<_>>().join("; ")
}

/// A measure as a reader calls it.
pub(super) fn measure(measure: Measure) -> &'static str {
    match measure {
        Measure::DecodeTokensRate => "decode tokens per second",
        Measure::RequestsRate => "requests per second",
        Measure::PromptTokensRate => "prompt tokens per second",
        Measure::TtftP50 => "time to first token, p50",
        Measure::TpotP50 => "time per output token, p50",
        Measure::E2eP50 => "end-to-end latency, p50",
    }
}

/// What a comparison says.
pub(super) fn outcome(of: Measure, comparison: &Comparison) -> String {
    let decision = match comparison.verdict {
        Some(Verdict::Regressed) => Decision::Regressed,
        Some(Verdict::Improved) => Decision::Improved,
        None => comparison.decision,
    };
    let by = by_how_much(of, comparison.ratio);
    match decision {
        Decision::Regressed => format!("regressed: {by}, beyond chance"),
        Decision::Improved => format!("improved: {by}, beyond chance"),
        Decision::Unchanged => format!(
            "unchanged: any effect is within {:.0} %",
            of.default_tolerance() * 100.0
        ),
        Decision::Inconclusive => "inconclusive: too few runs for this noise".to_owned(),
    }
}

fn by_how_much(of: Measure, ratio: f64) -> String {
    let share = (ratio - 1.0).abs() * 100.0;
    let word = match (of.good(), ratio < 1.0) {
        (Good::High, true) => "lower",
        (Good::High, false) => "higher",
        (Good::Low, true) => "shorter",
        (Good::Low, false) => "longer",
    };
    format!("{share:.1} % {word}")
}

/// What the judges say of a change as a whole: of its headline, or why they say nothing.
pub(super) fn of_change(change: &Change) -> String {
    /// Clean runs that a change needs before and after it.
    const NEEDED: (usize, usize) = (10, 5);
    match change.compared.get(&Measure::DecodeTokensRate) {
        Some(comparison) => {
            let words = outcome(Measure::DecodeTokensRate, comparison);
            if change.clean_before < NEEDED.0 {
                return format!("{words} (together with the change before it)");
            }
            words
        }
        None => format!(
            "not judged: {} before and {} after, where {} and {} are needed",
            counted(change.clean_before, "clean run"),
            change.clean_after,
            NEEDED.0,
            NEEDED.1
        ),
    }
}

/// After divided by before with its interval, such as `0.950 [0.941, 0.959]`.
pub(super) fn ratio(comparison: &Comparison) -> String {
    format!(
        "{:.3} [{:.3}, {:.3}]",
        comparison.ratio, comparison.lower, comparison.upper
    )
}

/// What a verdict is against.
pub(super) fn against(compared: Compared) -> &'static str {
    match compared {
        Compared::Previous => "the environment before",
        Compared::Baseline => "the baseline",
    }
}

/// How many runs a story has, and how many of them do not count.
pub(super) fn runs(story: &Story) -> String {
    let invalid = story.runs.iter().filter(|run| !run.is_valid());
    let contaminated = invalid.clone().filter(|run| run.figures.contaminated);
    let (invalid, contaminated) = (invalid.count(), contaminated.count());
    let runs = counted(story.runs.len(), "run");
    match (invalid, contaminated) {
        (0, _) => format!("{runs}, all of which count"),
        (n, 0) => format!("{runs}, of which {n} do not count"),
        (n, others) if n == others => {
            format!("{runs}, of which {n} do not count for others' traffic")
        }
        (n, others) => {
            format!("{runs}, of which {n} do not count, {others} of them for others' traffic")
        }
    }
}
