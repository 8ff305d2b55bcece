//! What is stored beside the runs: what people said of verdicts, and what changed where a deployment runs. Both are
//! few, and kept for good.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use super::{Series, nanos, timestamp};
use crate::judges::{Act, Intervention};
use crate::measure::Measure;
use crate::measurement::RunId;
use crate::report::FieldChangeJson;

/// Something that happened between runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Someone intervened.
    Intervened(StoredIntervention),
    /// An environment changed.
    EnvironmentChanged(EnvironmentChange),
}

/// An intervention, and where it belongs among the runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIntervention {
    /// A UUID, so that it is not stored twice.
    pub id: String,
    /// Whose runs it is about.
    pub series: Series,
    /// The last run that had been judged when it took effect; absent when there was none.
    pub after_run: Option<RunId>,
    /// What was said.
    pub intervention: Intervention,
}

/// What a deployment runs on has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentChange {
    /// A UUID, so that it is not stored twice.
    pub id: String,
    /// The deployment's name.
    pub deployment: String,
    /// When it was noticed: the end of the run that noticed it.
    pub at: Timestamp,
    /// The run that noticed it.
    pub run: RunId,
    /// What has another value than before.
    pub fields: Vec<FieldChangeJson>,
}

impl Event {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let text = match self {
            Self::Intervened(event) => event.intervention.why.len() + event.intervention.by.len(),
            Self::EnvironmentChanged(event) => 100 * event.fields.len(),
        };
        size_of::<Self>() + text
    }
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    event: &Event,
) -> Result<(), sqlx::Error> {
    match event {
        Event::Intervened(event) => intervened(connection, event).await,
        Event::EnvironmentChanged(event) => changed(connection, event).await,
    }
}

async fn intervened(
    connection: &mut SqliteConnection,
    event: &StoredIntervention,
) -> Result<(), sqlx::Error> {
    let series = event.series.key(connection).await?;
    let Intervention {
        at,
        by,
        why,
        measure,
        act,
    } = &event.intervention;
    let insert = sqlx::query(
        "INSERT INTO intervention (id, series, at, after_run, act, until, measure, by, why)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    insert
        .bind(&event.id)
        .bind(series)
        .bind(nanos(*at))
        .bind(event.after_run.as_ref().map(|run| &run.0))
        .bind(act.label())
        .bind(act.until().map(nanos))
        .bind(measure.map(Measure::label))
        .bind(by)
        .bind(why)
        .execute(connection)
        .await?;
    Ok(())
}

async fn changed(
    connection: &mut SqliteConnection,
    event: &EnvironmentChange,
) -> Result<(), sqlx::Error> {
    let fields = serde_json::to_string(&event.fields)
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let insert = sqlx::query(
        "INSERT INTO environment_change (id, deployment, at, run, fields) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    );
    insert
        .bind(&event.id)
        .bind(&event.deployment)
        .bind(nanos(event.at))
        .bind(&event.run.0)
        .bind(fields)
        .execute(connection)
        .await?;
    Ok(())
}

/// Every intervention, in the order in which they were said; of one series, or of all.
pub(super) async fn interventions(
    connection: &mut SqliteConnection,
    series: Option<&Series>,
) -> Result<Vec<StoredIntervention>, sqlx::Error> {
    let rows: Vec<Option<StoredIntervention>> = sqlx::query(
        "SELECT i.*, s.deployment, s.workload, s.workload_id
         FROM intervention i JOIN series s ON s.key = i.series
         WHERE ?1 IS NULL OR (s.deployment = ?1 AND s.workload = ?2 AND s.workload_id = ?3)
         ORDER BY i.at, i.id",
    )
    .bind(series.map(|series| &series.deployment))
    .bind(series.map(|series| &series.workload))
    .bind(series.map(|series| &series.workload_id))
    .fetch_all(connection)
    .await?
    .iter()
    .map(intervention)
    .collect::<Result<_, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// `None` for one of a kind, or of a measure, that a later version has added.
fn intervention(row: &SqliteRow) -> Result<Option<StoredIntervention>, sqlx::Error> {
    let until: Option<i64> = row.try_get("until")?;
    let measure: Option<&str> = row.try_get("measure")?;
    let act = Act::of(row.try_get("act")?, until.map(timestamp));
    let known = measure.map(Measure::named);
    let (Some(act), Some(measure)) = (act, known.map_or(Some(None), |known| known.map(Some)))
    else {
        return Ok(None);
    };
    let after_run: Option<String> = row.try_get("after_run")?;
    Ok(Some(StoredIntervention {
        id: row.try_get("id")?,
        series: Series::from_row(row)?,
        after_run: after_run.map(RunId),
        intervention: Intervention {
            at: timestamp(row.try_get("at")?),
            by: row.try_get("by")?,
            why: row.try_get("why")?,
            measure,
            act,
        },
    }))
}

/// Every change of the environment of one deployment, or of all, oldest first.
pub(super) async fn environment_changes(
    connection: &mut SqliteConnection,
    deployment: Option<&str>,
) -> Result<Vec<EnvironmentChange>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT * FROM environment_change WHERE ?1 IS NULL OR deployment = ?1 ORDER BY at, id",
    )
    .bind(deployment)
    .fetch_all(connection)
    .await?;
    let change = |row: &SqliteRow| {
        let fields: &str = row.try_get("fields")?;
        Ok(EnvironmentChange {
            id: row.try_get("id")?,
            deployment: row.try_get("deployment")?,
            at: timestamp(row.try_get("at")?),
            run: RunId(row.try_get("run")?),
            fields: serde_json::from_str(fields)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    };
    rows.iter().map(change).collect()
}
