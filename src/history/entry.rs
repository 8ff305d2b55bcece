//! What is stored of a run: its JSON as it is shown, the point that is judged, and its requests.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use crate::measurement::RunId;
use crate::report::{RunJson, Source, Unreadable};

/// A run that is ready to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The id that it is stored under.
    pub id: RunId,
    /// Whose run it is.
    pub series: Series,
    /// Who measured it.
    pub source: Source,
    /// Whether it is a mere sign of life, which is kept for a shorter time.
    pub light: bool,
    /// Its first dispatch.
    pub started_at: Timestamp,
    /// When it had ended.
    pub ended_at: Timestamp,
    /// What is judged of it.
    pub point: Point,
    /// The fields of the environment as a JSON object; absent when none is known.
    pub environment: Option<String>,
    /// The run's JSON without its requests.
    pub json: String,
    /// Its requests, a JSON array; absent when they are not known.
    pub requests: Option<String>,
}

/// What may be compared: one workload, exactly so, on one deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The deployment's name.
    pub deployment: String,
    /// The workload's name.
    pub workload: String,
    /// The workload's identity.
    pub workload_id: String,
}

/// What is judged of a run. Figures of a run that does not count are absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Whether the run counts.
    pub valid: bool,
    /// Whether the server did more for others than the run may be beside.
    pub contaminated: bool,
    /// Whether the server restarted during the run, or since the one before.
    pub restarted: bool,
    /// Whether the server's own metrics told its traffic from that of others.
    pub observable: bool,
    /// Of the environment; absent when it is not known.
    pub fingerprint: Option<String>,
    /// Completion tokens per second.
    pub decode_tokens_rate: Option<f64>,
    /// Completed requests per second.
    pub requests_rate: Option<f64>,
    /// Prompt tokens per second.
    pub prompt_tokens_rate: Option<f64>,
    /// Median time to first token, in seconds.
    pub ttft_p50: Option<f64>,
    /// Median time per output token, in seconds.
    pub tpot_p50: Option<f64>,
    /// Median end-to-end latency, in seconds.
    pub e2e_p50: Option<f64>,
    /// Completion tokens of a request.
    pub completion_tokens_mean: Option<f64>,
}

impl Series {
    /// The key of the series, which gets one when it is new.
    pub(super) async fn key(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        sqlx::query("INSERT INTO series (deployment, workload, workload_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&self.deployment)
            .bind(&self.workload)
            .bind(&self.workload_id)
            .execute(&mut *connection)
            .await?;
        sqlx::query_scalar(
            "SELECT key FROM series WHERE deployment = ? AND workload = ? AND workload_id = ?",
        )
        .bind(&self.deployment)
        .bind(&self.workload)
        .bind(&self.workload_id)
        .fetch_one(connection)
        .await
    }
}

impl FromRow<'_, SqliteRow> for Series {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            deployment: row.try_get("deployment")?,
            workload: row.try_get("workload")?,
            workload_id: row.try_get("workload_id")?,
        })
    }
}

impl Entry {
    /// Makes `run`, which ended at `ended_at`, ready to be stored.
    ///
    /// # Errors
    /// When it does not say what workload it replayed, or its id is not a UUID.
    pub fn new(mut run: RunJson, source: Source, ended_at: Timestamp) -> Result<Self, Unreadable> {
        let workload = run
            .workload
            .clone()
            .ok_or_else(|| Unreadable::new("it does not say which `workload` it replayed"))?;
        let id = uuid::Uuid::parse_str(&run.run_id)
            .map_err(|error| Unreadable::new(format!("run_id {:?}: {error}", run.run_id)))?;
        // One spelling, so that a run is not stored twice.
        run.run_id = id.to_string();
        let requests = run.request_records.take();
        let text = |value: Result<String, serde_json::Error>| {
            value.map_err(|error| Unreadable::new(error.to_string()))
        };
        Ok(Self {
            id: RunId(run.run_id.clone()),
            series: Series {
                deployment: run.deployment.clone(),
                workload,
                workload_id: run.workload_id.clone(),
            },
            source,
            light: run.light,
            started_at: run.started_at,
            ended_at,
            point: Point::of(&run),
            environment: None,
            json: text(serde_json::to_string(&run))?,
            requests: requests
                .map(|requests| text(serde_json::to_string(&requests)))
                .transpose()?,
        })
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let requests = self.requests.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.json.len() + requests
    }
}

impl Point {
    fn of(run: &RunJson) -> Self {
        let is = |reason: &str| run.invalid_reasons.iter().any(|word| word == reason);
        Self {
            valid: run.valid,
            contaminated: is("contaminated"),
            restarted: run.server.restarted,
            observable: run.server.foreign_tokens.is_some(),
            fingerprint: run.environment.fingerprint.clone(),
            decode_tokens_rate: run.decode_tps,
            requests_rate: run.qps,
            prompt_tokens_rate: run.prompt_tps,
            ttft_p50: run.ttft_seconds.and_then(|ttft| ttft.p50),
            tpot_p50: run.tpot_seconds.and_then(|tpot| tpot.p50),
            e2e_p50: run.latency_seconds.and_then(|latency| latency.p50),
            completion_tokens_mean: run.token_usage.completion_tokens_mean.filter(|_| run.valid),
        }
    }
}
