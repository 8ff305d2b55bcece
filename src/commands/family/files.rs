//! Runs of files side by side: those of one precision, deployment and model make one row.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Gathered;
use crate::comparison::{Contestant, Precision, Replay, SeriesRun, Story};
use crate::history::{Entry, SeriesPoint, Subject, fields_changed};
use crate::judges::JudgedFigures;
use crate::measure::Tolerances;
use crate::report::foreign::{self, Told};
use crate::report::{RunJson, Source, lines};

/// Stands for the workload of a run that does not name it.
const UNNAMED: &str = "run";

/// A file of runs, and the precision that was written before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct LabelledFile {
    precision: Option<String>,
    path: PathBuf,
}

impl From<&str> for LabelledFile {
    fn from(text: &str) -> Self {
        let label = text
            .split_once('=')
            .filter(|(label, _)| !label.is_empty() && !label.contains(['/', '.']));
        Self {
            precision: label.map(|(label, _)| label.to_owned()),
            path: label.map_or(text, |(_, path)| path).into(),
        }
    }
}

/// What makes runs of one row: precision as told, deployment, model and workload.
type Key = (Option<String>, String, String, String);

/// Reads the files.
pub(super) fn gather(files: &[LabelledFile]) -> Result<Gathered, String> {
    let mut groups: BTreeMap<Key, Vec<RunJson>> = BTreeMap::new();
    let mut count = 0;
    for file in files {
        let name = file.path.display();
        let text =
            std::fs::read_to_string(&file.path).map_err(|error| format!("{name}: {error}"))?;
        for (line, text) in lines::runs(&text) {
            let run = read(text, count).map_err(|why| format!("{name}:{line}: {why}"))?;
            count += 1;
            let key = (
                file.precision.clone(),
                run.deployment.clone(),
                run.model.clone(),
                run.workload_id.clone(),
            );
            groups.entry(key).or_default().push(run);
        }
    }
    let subjects = groups
        .into_iter()
        .map(|((precision, ..), runs)| subject(precision.as_deref(), runs))
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Gathered {
        title: match files.len() {
            1 => "1 file".to_owned(),
            many => format!("{many} files"),
        },
        workload: None,
        subjects,
        notes: Vec::new(),
    })
}

/// Reads a run. One that does not say when it began is taken to have begun in the order of the files, long ago.
fn read(text: &str, place: usize) -> Result<RunJson, String> {
    let told = |started_at| Told {
        deployment: Some(String::new()),
        workload: Some(UNNAMED.to_owned()),
        workload_id: None,
        started_at,
    };
    let is_ours = serde_json::from_str::<serde_json::Value>(text)
        .is_ok_and(|value| value.get("schema").is_some());
    let run = if is_ours {
        let named = Told {
            deployment: None,
            ..told(None)
        };
        foreign::read(text, &named)
    } else {
        let in_order = SignedDuration::from_mins(i64::try_from(place).unwrap_or_default());
        let early = Timestamp::UNIX_EPOCH + in_order;
        foreign::read(text, &told(None)).or_else(|_| foreign::read(text, &told(Some(early))))
    };
    run.map(|(run, _)| run).map_err(|error| error.to_string())
}

fn subject(precision: Option<&str>, mut runs: Vec<RunJson>) -> Result<Subject, String> {
    runs.sort_by_key(|run| run.started_at);
    // A file that is named twice is one run.
    runs.dedup_by(|one, other| one.run_id == other.run_id);
    let points: Vec<SeriesRun> = runs.iter().map(point).collect::<Result<_, _>>()?;
    let replay = Replay::of(&points, &[], &Tolerances::default());
    let by_id: BTreeMap<&str, &RunJson> = runs
        .iter()
        .zip(&points)
        .map(|(run, point)| (point.id.0.as_str(), run))
        .collect();
    let of = |id: &crate::measurement::RunId| by_id.get(id.0.as_str()).copied();
    let changed = replay.changes.iter().map(|change| {
        let sides = of(&change.last_before).zip(of(&change.first_after));
        sides.map_or_else(Vec::new, |(before, after)| fields_changed(before, after))
    });
    let last = runs.last();
    let name = last.map_or("", |run| match run.deployment.as_str() {
        "" => run.model.as_str(),
        deployment => deployment,
    });
    let shown = replay.shown.iter().filter_map(of).cloned();
    Ok(Subject {
        contestant: Contestant {
            deployment: last.map(|run| run.deployment.clone()).unwrap_or_default(),
            precision: precision.map(Precision::declared),
            level: replay.level.clone(),
            runs: shown.collect(),
            left_out: replay.left_out,
        },
        story: Story {
            name: name.to_owned(),
            changed: changed.collect(),
            runs: points,
            replay,
        },
    })
}

fn point(run: &RunJson) -> Result<SeriesRun, String> {
    let wall = Duration::try_from_secs_f64(run.wall_seconds).unwrap_or_default();
    let ended_at = run.started_at.checked_add(wall).unwrap_or(run.started_at);
    let entry =
        Entry::new(run.clone(), Source::Prober, ended_at).map_err(|error| error.to_string())?;
    let point = SeriesPoint {
        id: entry.id,
        ended_at,
        point: entry.point,
    };
    Ok(SeriesRun {
        figures: JudgedFigures::from(&point),
        id: point.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_may_stand_before_a_file() {
        for (text, precision, path) in [
            ("fp8=a.json", Some("fp8"), "a.json"),
            ("a.json", None, "a.json"),
            ("dir/x=1.json", None, "dir/x=1.json"),
            ("./x=1.json", None, "./x=1.json"),
            ("=a.json", None, "=a.json"),
        ] {
            let file = LabelledFile::from(text);
            assert_eq!(
                (file.precision.as_deref(), file.path),
                (precision, path.into()),
                "{text}"
            );
        }
    }
}
