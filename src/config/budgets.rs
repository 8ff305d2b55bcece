//! The `budget` of a deployment, and that of all of them in `global`: what probing may cost.

use super::field::Field;
use super::section::Section;
use crate::budget::Budget;

pub(super) const FIELDS: &[&str] = &["tokens_per_day", "duty_cycle"];

/// More tokens than all GPUs of a large site generate in a day.
const MOST_TOKENS: i128 = 1_000_000_000_000;

/// A budget with what later checks need of where it came from.
#[derive(Clone, Default)]
pub(super) struct ReadBudget<'a> {
    /// The tokens a day.
    pub(super) tokens: Option<(u64, Field<'a>)>,
    /// The share of the time.
    pub(super) duty_cycle: Option<(f64, Field<'a>)>,
}

impl ReadBudget<'_> {
    /// The budget, without its places.
    pub(super) fn budget(&self) -> Budget {
        Budget {
            tokens_per_day: self.tokens.as_ref().map(|(tokens, _)| *tokens),
            duty_cycle: self.duty_cycle.as_ref().map(|(share, _)| *share),
        }
    }
}

pub(super) fn read_budget<'a>(field: &Field<'a>) -> ReadBudget<'a> {
    let section = Section::of(field, FIELDS);
    let tokens = section.get("tokens_per_day").and_then(|field| {
        let tokens = field.whole(1..=MOST_TOKENS)?;
        Some((tokens, field))
    });
    let duty_cycle = section.get("duty_cycle").and_then(|field| {
        let share = field.number(0.0..=1.0)?;
        if share > 0.0 {
            return Some((share, field));
        }
        field.mistake(
            "with a duty cycle of 0 no burst ever runs",
            "write a share above 0, such as `0.1`, or delete the probes that are not to run",
        );
        None
    });
    ReadBudget { tokens, duty_cycle }
}
