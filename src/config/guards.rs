//! The `guards` of a deployment, and those of all in `global`: what keeps a burst from a busy server.

use super::field::Field;
use super::section::Section;
use super::values;
use crate::guard::Guards;

pub(super) const FIELDS: &[&str] = &[
    "max_foreign_requests",
    "max_kv_cache_usage",
    "abort_above_waiting",
    "wedged_after",
];

/// More requests than any server has at once: a bound beyond it is none.
const MOST_REQUESTS: i128 = 100_000;

/// The guards that `field` describes; what it leaves out is as in `defaults`.
pub(super) fn read_guards(field: &Field<'_>, defaults: Guards) -> Guards {
    let section = Section::of(field, FIELDS);
    let requests = |name, word| {
        let field: Field<'_> = section.get(name)?;
        field.bound(word, |field| field.whole(0..=MOST_REQUESTS))
    };
    let cache_usage = section
        .get("max_kv_cache_usage")
        .and_then(|field| field.bound("any", |field| field.number(0.0..=1.0)));
    let wedged_after = section
        .get("wedged_after")
        .and_then(|field| field.parsed(values::some_time));
    Guards {
        max_foreign_requests: requests("max_foreign_requests", "any")
            .unwrap_or(defaults.max_foreign_requests),
        max_kv_cache_usage: cache_usage.unwrap_or(defaults.max_kv_cache_usage),
        abort_above_waiting: requests("abort_above_waiting", "never")
            .unwrap_or(defaults.abort_above_waiting),
        wedged_after: wedged_after.unwrap_or(defaults.wedged_after),
    }
}

/// Warns of guards that are written in `field` and can never do anything, since no metrics are read.
pub(super) fn warn_if_blind(field: &Field<'_>, guards: &Guards) {
    let section = Section::of(field, FIELDS);
    let set = [
        (
            "max_foreign_requests",
            guards.max_foreign_requests.is_some(),
        ),
        ("max_kv_cache_usage", guards.max_kv_cache_usage.is_some()),
        ("abort_above_waiting", guards.abort_above_waiting.is_some()),
    ];
    for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
        if let Some(field) = section.get(name) {
            field.warning(
                format!("`{name}` has no effect: the metrics of this deployment are not read"),
                format!("delete `metrics_url: off`, or delete `{name}`"),
            );
        }
    }
}
