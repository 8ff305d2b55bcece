//! The deployments of a family with their runs from the history. The configuration knows families and precisions;
//! the history knows what ran.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{FamilyArgs, Gathered};
use crate::comparison::counted;
use crate::config::Config;
use crate::history::{Reader, Series};
use crate::measure::Tolerances;
use crate::report::RunJson;

/// Who is to be compared.
struct Chosen {
    title: String,
    /// In the order in which they were named; absent for everyone whom the history has.
    deployments: Option<Vec<String>>,
    /// As they were declared.
    precisions: BTreeMap<String, String>,
    /// How much of a change is borne, by deployment, as far as the configuration says so.
    tolerances: BTreeMap<String, Tolerances>,
}

/// A series, and the newest of its runs.
struct Candidate {
    series: Series,
    newest: RunJson,
    ended_at: Timestamp,
}

impl FamilyArgs {
    /// Reads the runs of the history.
    pub(super) async fn gather_stored(&self) -> Result<Gathered, String> {
        let chosen = self.choose()?;
        let told = |error: crate::history::HistoryError| error.to_string();
        let mut reader = Reader::open(&self.storage_path).await.map_err(told)?;
        let series = reader.all_series().await.map_err(told)?;
        let series = self.of_chosen(&chosen, series)?;
        let workload = self.workload(&mut reader, &series).await?;
        let mut notes = Vec::new();
        let deployments: BTreeSet<&str> = series
            .iter()
            .map(|series| series.deployment.as_str())
            .collect();
        let mut subjects = Vec::new();
        for deployment in deployments {
            let own = series
                .iter()
                .filter(|series| series.deployment == deployment && series.workload == workload);
            let mut newest: Option<Candidate> = None;
            let mut earlier = 0;
            for series in own {
                let candidate = newest_of(&mut reader, series).await?;
                earlier += usize::from(newest.is_some());
                let ended_at = newest.as_ref().map(|newest| newest.ended_at);
                if candidate.as_ref().map(|found| found.ended_at) > ended_at {
                    newest = candidate;
                }
            }
            let Some(Candidate { series, .. }) = newest else {
                notes.push(format!(
                    "{deployment} has no runs of the workload {workload}."
                ));
                continue;
            };
            if earlier > 0 {
                notes.push(format!(
                    "{deployment}: the workload {workload} was another one before; runs of that are left out."
                ));
            }
            let precision = chosen.precisions.get(deployment).map(String::as_str);
            let tolerances = chosen.tolerances.get(deployment).cloned();
            let tolerances = tolerances.unwrap_or_default();
            let subject = reader.subject(&series, precision, &tolerances).await;
            let subject = subject.map_err(|error| error.to_string())?;
            if subject.story.replay.later > 0 {
                notes.push(format!(
                    "{deployment}: the environment has changed, and there are only {} since; the figures are those from before.",
                    counted(subject.story.replay.later, "clean run")
                ));
            }
            subjects.push(subject);
        }
        for missing in chosen.deployments.iter().flatten() {
            if !series.iter().any(|series| series.deployment == *missing) {
                notes.push(format!("{missing} has no runs yet."));
            }
        }
        Ok(Gathered {
            title: chosen.title,
            workload: Some(workload),
            subjects,
            notes,
        })
    }

    fn choose(&self) -> Result<Chosen, String> {
        let config = self.config().map(|path| {
            let loaded = Config::load(path);
            loaded.map_err(|mistakes| format!("{}\n{mistakes}", path.display()))
        });
        let config = config.transpose()?;
        let listed: Vec<_> = config.iter().flat_map(Config::listed_in_files).collect();
        let listed = listed.iter().flat_map(|listed| &listed.found.deployments);
        let written = config.iter().flat_map(|config| &config.deployments);
        let deployments = written.chain(listed).map(|probed| &probed.deployment);
        let precisions = deployments
            .clone()
            .filter_map(|one| Some((one.name.to_string(), one.precision.clone()?)))
            .collect();
        let tolerances: BTreeMap<_, _> = deployments
            .clone()
            .map(|one| (one.name.to_string(), one.tolerances.clone()))
            .collect();
        if !self.deployment.is_empty() {
            return Ok(Chosen {
                title: self.deployment.join(", "),
                deployments: Some(self.deployment.clone()),
                precisions,
                tolerances,
            });
        }
        let families: BTreeSet<&str> = deployments
            .clone()
            .filter_map(|one| one.family.as_deref())
            .collect();
        let known = families.iter().copied().collect::<Vec<_>>().join(", ");
        let family = match (self.family.as_deref(), self.config()) {
            (Some(family), None) => {
                return Err(format!(
                    "--family {family}: which deployments are of it stands in the configuration; name it with --config.file, or name them with --deployment"
                ));
            }
            (Some(family), Some(path)) if !families.contains(family) => {
                let has = if known.is_empty() {
                    "no deployment in it has a `family`".to_owned()
                } else {
                    format!("it has {known}")
                };
                return Err(format!(
                    "--family {family}: {} has no such family; {has}",
                    path.display()
                ));
            }
            (Some(family), Some(_)) => family,
            (None, Some(path)) if families.len() > 1 => {
                return Err(format!(
                    "{} has several families: {known}; pick one with --family",
                    path.display()
                ));
            }
            (None, _) => match families.first() {
                Some(family) => family,
                None => {
                    return Ok(Chosen {
                        title: "All deployments".to_owned(),
                        deployments: None,
                        precisions,
                        tolerances,
                    });
                }
            },
        };
        let of_family = deployments.filter(|one| one.family.as_deref() == Some(family));
        Ok(Chosen {
            title: family.to_owned(),
            deployments: Some(of_family.map(|one| one.name.to_string()).collect()),
            precisions,
            tolerances,
        })
    }

    fn of_chosen(&self, chosen: &Chosen, all: Vec<Series>) -> Result<Vec<Series>, String> {
        let names: BTreeSet<&str> = all.iter().map(|one| one.deployment.as_str()).collect();
        let known = names.into_iter().collect::<Vec<_>>().join(", ");
        let is_chosen = |series: &Series| match &chosen.deployments {
            Some(names) => names.contains(&series.deployment),
            None => true,
        };
        let storage = self.storage_path.display();
        let found: Vec<Series> = all.iter().filter(|one| is_chosen(one)).cloned().collect();
        if found.is_empty() {
            let wanted = chosen.deployments.as_deref().unwrap_or_default().join(", ");
            return Err(if all.is_empty() {
                format!(
                    "--storage.path {storage}: the history has no runs yet; let `serve` measure some, or bring them in with `history import`"
                )
            } else {
                format!(
                    "--storage.path {storage}: the history has no runs of {wanted}; it has runs of {known}"
                )
            });
        }
        Ok(found)
    }

    /// By which workload they are compared.
    async fn workload(&self, reader: &mut Reader, series: &[Series]) -> Result<String, String> {
        let names: BTreeSet<&str> = series.iter().map(|one| one.workload.as_str()).collect();
        let known = names.iter().copied().collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &self.workload {
            return names
                .contains(wanted.as_str())
                .then(|| wanted.clone())
                .ok_or_else(|| {
                    format!(
                        "--workload {wanted}: the history has no runs of it; it has runs of {known}"
                    )
                });
        }
        if let [only] = names.iter().collect::<Vec<_>>()[..] {
            return Ok((*only).to_owned());
        }
        let mut heavy = BTreeSet::new();
        for series in series {
            let newest = newest_of(reader, series).await?;
            if newest.is_some_and(|newest| newest.newest.concurrency > 1) {
                heavy.insert(series.workload.as_str());
            }
        }
        match heavy.iter().collect::<Vec<_>>()[..] {
            [only] => Ok((*only).to_owned()),
            _ => Err(format!(
                "there are runs of several workloads: {known}; pick one with --workload"
            )),
        }
    }
}

async fn newest_of(reader: &mut Reader, series: &Series) -> Result<Option<Candidate>, String> {
    let points = reader.series(series, Timestamp::MIN).await;
    let points = points.map_err(|error| error.to_string())?;
    let Some(last) = points.last() else {
        return Ok(None);
    };
    let newest = reader.run_json(&last.id).await;
    let newest = newest.map_err(|error| error.to_string())?;
    Ok(newest.map(|newest| Candidate {
        series: series.clone(),
        newest,
        ended_at: last.ended_at,
    }))
}
