//! The `validity` of a workload: what a run must hold to for its figures to be shown.

use super::field::Field;
use super::section::Section;
use super::values;
use crate::validity::Validity;

pub(super) const FIELDS: &[&str] = &[
    "max_failed_ratio",
    "max_foreign_tokens_ratio",
    "max_foreign_prompt_ratio",
    "min_concurrency_utilization",
    "max_client_delay",
    "max_client_load_ratio",
];

/// The thresholds that `field` sets; those that it leaves out are as in `defaults`.
pub(super) fn read_validity(field: &Field<'_>, defaults: Validity) -> Validity {
    let section = Section::of(field, FIELDS);
    let share = |name, default| {
        section
            .get(name)
            .and_then(|field| field.number(0.0..=1.0))
            .unwrap_or(default)
    };
    // Others may well be served more than we are.
    let per_token = |name, default| {
        section
            .get(name)
            .and_then(|field| field.bound("any", |field| field.number(0.0..=1000.0)))
            .unwrap_or(default)
    };
    Validity {
        max_failed_ratio: share("max_failed_ratio", defaults.max_failed_ratio),
        max_foreign_tokens_ratio: per_token(
            "max_foreign_tokens_ratio",
            defaults.max_foreign_tokens_ratio,
        ),
        max_foreign_prompt_ratio: per_token(
            "max_foreign_prompt_ratio",
            defaults.max_foreign_prompt_ratio,
        ),
        min_concurrency_utilization: share(
            "min_concurrency_utilization",
            defaults.min_concurrency_utilization,
        ),
        max_client_delay: section
            .get("max_client_delay")
            .and_then(|field| field.parsed(values::duration))
            .unwrap_or(defaults.max_client_delay),
        max_client_load_ratio: share("max_client_load_ratio", defaults.max_client_load_ratio),
    }
}
