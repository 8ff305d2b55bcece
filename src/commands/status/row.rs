//! What the table says of one deployment, in the words and numbers of the Fleet page, and whether that is well.

use jiff::Timestamp;

use super::{SOMETHING_STANDS, WELL};
use crate::condition::DeploymentState;
use crate::config::source::printable;
use crate::report::{AcknowledgementJson, DeploymentJson, OverviewJson};
use crate::server::Stand;
use crate::server::quantity::{NONE, number, ratio, seconds, span};
use crate::verdict::Verdict;

/// What a cell is coloured for. Its words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tint {
    Plain,
    Good,
    Warning,
    Bad,
}

/// The columns, as they stand from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Deployment,
    State,
    Verdict,
    Ratio,
    Decode,
    Baseline,
    Latency,
    Ttft,
    LastRun,
    Next,
    Family,
    Precision,
    Model,
    Vllm,
    Driver,
}

impl Column {
    /// All of them.
    pub(super) const ALL: [Self; 15] = [
        Self::Deployment,
        Self::State,
        Self::Verdict,
        Self::Ratio,
        Self::Decode,
        Self::Baseline,
        Self::Latency,
        Self::Ttft,
        Self::LastRun,
        Self::Next,
        Self::Family,
        Self::Precision,
        Self::Model,
        Self::Vllm,
        Self::Driver,
    ];

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deployment => "DEPLOYMENT",
            Self::State => "STATE",
            Self::Verdict => "VERDICT",
            Self::Ratio => "RATIO, 95 %",
            Self::Decode => "DECODE TOK/S",
            Self::Baseline => "BASELINE",
            Self::Latency => "P50, P95",
            Self::Ttft => "TTFT P50",
            Self::LastRun => "LAST RUN",
            Self::Next => "NEXT",
            Self::Family => "FAMILY",
            Self::Precision => "PRECISION",
            Self::Model => "MODEL",
            Self::Vllm => "VLLM",
            Self::Driver => "DRIVER",
        }
    }

    /// The width below which its texts are not cut; `None` if they are never cut.
    pub(super) fn least(self) -> Option<usize> {
        match self {
            Self::Deployment => Some(16),
            Self::Verdict | Self::Model => Some(14),
            Self::LastRun => Some(10),
            Self::Family | Self::Vllm | Self::Driver => Some(8),
            _ => None,
        }
    }

    /// Whether its texts end at its right edge.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Decode | Self::Baseline | Self::Ttft)
    }
}

/// A text, and what it is coloured for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tint: Tint,
}

/// One deployment.
#[derive(Clone, Debug)]
pub(super) struct Row([Cell; Column::ALL.len()]);

impl Row {
    /// The row of a deployment, as it is at `now`.
    pub(super) fn of(deployment: &DeploymentJson, now: Timestamp) -> Self {
        let overview = &deployment.overview;
        Self(Column::ALL.map(|column| {
            let text = text(column, deployment, now);
            Cell {
                text: clean(text.as_deref().unwrap_or(NONE)),
                tint: tint(column, &deployment.state, overview),
            }
        }))
    }

    /// What it says in a column.
    pub(super) fn cell(&self, column: Column) -> &Cell {
        &self.0[column as usize]
    }
}

/// What a terminal may get: nothing that moves its cursor or changes its state, and no space that is none to it.
pub(super) fn clean(text: &str) -> String {
    let plain = |c| match c {
        '\u{a0}' => ' ',
        // They turn the direction of what stands around them.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c => printable(c),
    };
    text.chars().map(plain).collect()
}

fn text(column: Column, deployment: &DeploymentJson, now: Timestamp) -> Option<String> {
    let overview = &deployment.overview;
    match column {
        Column::Deployment if overview.has_several => {
            Some(format!("{} · {}", deployment.name, overview.workload))
        }
        Column::Deployment => Some(deployment.name.clone()),
        Column::State => Some(deployment.state.clone()),
        Column::Verdict => Some(verdict(overview)),
        Column::Ratio => overview.comparison.as_ref().map(|compared| {
            let [middle, low, high] = [compared.ratio, compared.lower, compared.upper].map(ratio);
            format!("{middle} ({low} to {high})")
        }),
        Column::Decode => overview.decode_tps.map(number),
        Column::Baseline => overview.baseline_decode_tps.map(number),
        Column::Latency => {
            let both = overview
                .latency_p50_seconds
                .zip(overview.latency_p95_seconds);
            both.map(|(p50, p95)| format!("{}, {}", seconds(p50), seconds(p95)))
        }
        Column::Ttft => overview.ttft_p50_seconds.map(seconds),
        Column::LastRun => Some(match overview.last_run_at {
            Some(at) => {
                let ago = span(now.duration_since(at));
                format!("{ago} ago, {}", overview.last_run)
            }
            None => overview.last_run.clone(),
        }),
        Column::Next => match overview.next_run_at.map(|slot| slot.duration_since(now)) {
            _ if overview.in_progress => Some("running".to_owned()),
            Some(wait) if !wait.is_positive() => Some("waiting".to_owned()),
            wait => wait.map(|wait| format!("in {}", span(wait))),
        },
        Column::Family => deployment.family.clone(),
        Column::Precision => deployment.precision.clone(),
        Column::Model => deployment.model.clone(),
        Column::Vllm => overview.vllm_version.clone(),
        Column::Driver => overview.driver.clone(),
    }
}

/// The verdict, what qualifies it, and who has seen it.
fn verdict(overview: &OverviewJson) -> String {
    let mut words = overview.verdict.clone();
    for more in [Some(&overview.qualified), overview.acknowledged.as_ref()] {
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            words += ", ";
            words += more;
        }
    }
    words
}

fn tint(column: Column, state: &str, overview: &OverviewJson) -> Tint {
    match column {
        Column::State => match known(DeploymentState::ALL, DeploymentState::label, state) {
            Some(DeploymentState::Ok) => Tint::Good,
            Some(DeploymentState::Down | DeploymentState::Wedged) => Tint::Bad,
            // Also a word of a later version.
            _ => Tint::Warning,
        },
        Column::Verdict | Column::Ratio => match known(Stand::ALL, Stand::label, &overview.stand) {
            Some(Stand::Slower) if overview.acknowledged.is_some() => Tint::Warning,
            Some(Stand::Slower) => Tint::Bad,
            Some(Stand::Faster) => Tint::Good,
            _ => Tint::Plain,
        },
        Column::LastRun if overview.last_run_at.is_some() && overview.last_run != "ok" => {
            Tint::Warning
        }
        _ => Tint::Plain,
    }
}

/// The member of a closed set whose label is `word`.
fn known<T: Copy>(all: &[T], label: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|one| label(*one) == word)
}

/// Whether any text about a deployment contains `text`, which is in lower case: the same as on the Fleet page.
pub(super) fn contains(deployment: &DeploymentJson, text: &str) -> bool {
    let overview = &deployment.overview;
    let gpu = deployment.environment.fields.get("gpu");
    let known = [
        Some(deployment.name.as_str()),
        deployment.family.as_deref(),
        deployment.precision.as_deref(),
        deployment.model.as_deref(),
        overview.vllm_version.as_deref(),
        overview.driver.as_deref(),
        gpu.map(|gpu| gpu.value.as_str()),
    ];
    let labels = deployment.labels.values().map(String::as_str);
    let mut all = known.into_iter().flatten().chain(labels);
    all.any(|known| known.to_lowercase().contains(text))
}

/// Whether a deployment wants someone's attention: it is not ok, or a regression of it stands that nobody has
/// acknowledged.
pub(super) fn stands(deployment: &DeploymentJson, now: Timestamp) -> bool {
    let holds = |seen: &AcknowledgementJson| seen.until.is_none_or(|until| now < until);
    let judgements = deployment
        .probes
        .iter()
        .flat_map(|probe| probe.judgements.values());
    let mut regressed = judgements
        .filter(|judgement| judgement.verdict.as_deref() == Some(Verdict::Regressed.label()));
    deployment.state != DeploymentState::Ok.label()
        || regressed.any(|judgement| !judgement.acknowledgement.as_ref().is_some_and(holds))
}

/// The exit status that tells how `fleet` is.
pub(super) fn worst(fleet: &[DeploymentJson], now: Timestamp) -> u8 {
    if fleet.iter().any(|deployment| stands(deployment, now)) {
        SOMETHING_STANDS
    } else {
        WELL
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn with(name: &str, change: impl FnOnce(&mut Value)) -> DeploymentJson {
        let mut value = json!({
            "name": name, "family": "f", "precision": "fp8", "model": "org/model", "lane": "l",
            "labels": {"team": "Search"}, "state": "ok", "evidence": null, "seen_at": null,
            "environment": {"fields": {"gpu": {"value": "H100", "source": "configured"}}},
            "environment_changed_at": null,
            "overview": {
                "rank": 0, "workload": "reference", "has_several": false, "stand": "slower",
                "verdict": "5.1\u{a0}% slower", "qualified": "since 09:05\u{a0}UTC",
                "acknowledged": null, "measure": "decode_tokens_rate",
                "comparison": {"ratio": 0.949, "lower": 0.941, "upper": 0.957, "decision": "regressed",
                    "runs_after": 12, "runs_before": 40},
                "decode_tps": 606.47, "baseline_decode_tps": 639.1, "latency_p50_seconds": 6.7577,
                "latency_p95_seconds": 6.9, "ttft_p50_seconds": 0.0441, "vllm_version": "0.11.0",
                "driver": "590.12", "last_run": "ok", "last_run_at": "2026-03-01T11:57:00Z",
                "in_progress": false, "next_run_at": "2026-03-01T12:12:00Z"
            },
            "probes": [{
                "workload": "reference", "workload_id": "w", "interval_seconds": 900.0,
                "next_run_at": null, "in_progress": false, "last_run": null, "last_valid_at": null,
                "judgements": {}
            }]
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    /// A deployment about which all is known, and for which nothing stands.
    pub(in crate::commands::status) fn deployment(name: &str) -> DeploymentJson {
        with(name, |_| {})
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_row_has_the_words_of_the_page() {
        let row = Row::of(&deployment("a"), at("2026-03-01T12:00:00Z"));
        let said = Column::ALL.map(|column| row.cell(column).text.clone());
        assert_eq!(
            said.join(" | "),
            "a | ok | 5.1 % slower, since 09:05 UTC | 0.949 (0.941 to 0.957) | 606.5 | 639.1 | \
             6.76 s, 6.90 s | 44.1 ms | 3 min ago, ok | in 12 min | f | fp8 | org/model | 0.11.0 | 590.12"
        );
        assert_eq!(row.cell(Column::Verdict).tint, Tint::Bad);
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let evil = with("a\u{1b}[2J\u{9b}31m\r\n\u{202e}b", |value| {
            value["overview"]["driver"] = json!("\u{7}x");
        });
        let row = Row::of(&evil, at("2026-03-01T12:00:00Z"));
        for column in Column::ALL {
            let text = &row.cell(column).text;
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(!text.contains('\u{202e}'), "{text:?}");
        }
    }

    #[test]
    fn what_stands_is_a_state_or_a_verdict_that_nobody_has_seen() {
        let now = at("2026-03-01T12:00:00Z");
        let judged = |until: Option<&str>, is_seen: bool| {
            with("a", |value| {
                let seen =
                    json!({"by": "me", "at": "2026-03-01T10:00:00Z", "why": "w", "until": until});
                value["probes"][0]["judgements"] = json!({"ttft_p50": {
                    "previous": null, "baseline": null, "baseline_median": null, "baseline_runs": 0,
                    "baseline_at": null, "noise_ratio": null, "minimum_detectable_change_ratio": null,
                    "verdict": "regressed", "verdict_since": null,
                    "acknowledgement": if is_seen { seen } else { Value::Null }
                }});
            })
        };
        let down = with("a", |value| value["state"] = json!("down"));
        for (deployment, expected) in [
            (deployment("a"), WELL),
            (down, SOMETHING_STANDS),
            (judged(None, false), SOMETHING_STANDS),
            (judged(Some("2026-03-01T13:00:00Z"), true), WELL),
            (judged(Some("2026-03-01T11:00:00Z"), true), SOMETHING_STANDS),
        ] {
            assert_eq!(worst(&[deployment], now), expected);
        }
    }

    #[test]
    fn a_text_is_looked_for_everywhere() {
        for text in ["ORG/", "search", "h100", "590", "0.11"] {
            assert!(contains(&deployment("a"), &text.to_lowercase()), "{text}");
        }
        assert!(!contains(&deployment("a"), "reference"));
    }
}
