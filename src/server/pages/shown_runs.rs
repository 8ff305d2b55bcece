//! Which runs the table of a deployment shows: what the query of its address says. It works without a script.

use std::sync::Arc;

use maud::{Markup, html};

use crate::board::{ProbeStatus, RecentRun};
use crate::closed_set::closed_set;

closed_set! {
    /// Which runs are shown.
    Which:
    All "all" "Every run.",
    Valid "valid" "Those that count.",
    Invalid "invalid" "Those that do not count.",
}

/// What is asked of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownRuns {
    which: Which,
    /// Of one workload; absent for all.
    workload: Option<String>,
    /// A word for which runs that there is not.
    mistake: Option<String>,
}

impl Default for ShownRuns {
    fn default() -> Self {
        Self {
            which: Which::All,
            workload: None,
            mistake: None,
        }
    }
}

impl ShownRuns {
    /// What was asked. A word that there is not is as none, and is told where runs are chosen.
    pub(super) fn read(which: Option<&str>, workload: Option<&str>) -> Self {
        let found = Which::ALL.iter().find(|one| Some(one.label()) == which);
        Self {
            which: found.copied().unwrap_or(Which::All),
            workload: workload.filter(|name| !name.is_empty()).map(str::to_owned),
            mistake: which
                .filter(|word| found.is_none() && !word.is_empty())
                .map(str::to_owned),
        }
    }

    /// Whether what was asked makes sense.
    pub(super) fn is_mistaken(&self) -> bool {
        self.mistake.is_some()
    }

    /// Whether runs of `probe` are shown.
    pub(super) fn is_of(&self, probe: &ProbeStatus) -> bool {
        let wanted = self.workload.as_ref();
        wanted.is_none_or(|wanted| probe.workload.name.to_string() == *wanted)
    }

    /// Whether `run` is shown.
    pub(super) fn has(&self, run: &RecentRun) -> bool {
        match self.which {
            Which::All => true,
            Which::Valid => run.invalid_reasons.is_empty(),
            Which::Invalid => !run.invalid_reasons.is_empty(),
        }
    }

    /// What of the query says so.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let which = (self.which != Which::All).then(|| ("runs", self.which.label().to_owned()));
        let workload = self.workload.clone().map(|name| ("workload", name));
        which.into_iter().chain(workload).collect()
    }

    /// Where it is chosen. `others` are what else the query says, and stay.
    pub(super) fn form(
        &self,
        probes: &[Arc<ProbeStatus>],
        others: &[(&'static str, String)],
    ) -> Markup {
        let words: Vec<&str> = Which::ALL.iter().map(|which| which.label()).collect();
        html! {
            @if let Some(word) = &self.mistake {
                p.notice role="alert" {
                    "There are no runs `" (word) "`, so all are shown; `runs` is one of " (words.join(", ")) "."
                }
            }
            @if let Some(name) = &self.workload && !probes.iter().any(|probe| self.is_of(probe)) {
                p.notice role="alert" { "No workload `" (name) "` is replayed here." }
            }
            form.filter method="get" id="runs" action="#runs" aria-label="Which runs are shown" {
                label { span { "Runs" }
                    select name="runs" {
                        @for which in Which::ALL {
                            option value=(which.label()) title=(which.meaning()) selected[self.which == *which] { (which.label()) }
                        }
                    }
                }
                @if probes.len() > 1 {
                    label { span { "Workload" }
                        select name="workload" {
                            option value="" { "all" }
                            @for name in probes.iter().map(|probe| probe.workload.name.to_string()) {
                                option value=(name) selected[self.workload.as_deref() == Some(&*name)] { (name) }
                            }
                        }
                    }
                }
                @for (name, value) in others { input type="hidden" name=(name) value=(value); }
                button { "Show" }
            }
        }
    }
}
