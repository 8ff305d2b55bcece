//! What can be asked of the history. A reader has a read-only connection of its own, and each question sees all
//! that was committed when it was asked.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, FromRow, Row, SqliteConnection};

use super::error::HistoryError;
use super::event::{self, EnvironmentChange, StoredIntervention};
use super::{FILE, Point, ROWS_AHEAD, Series, nanos, options, schema, timestamp};
use crate::measurement::RunId;
use crate::report::{RunJson, Source, Unreadable, read_run};

/// Asks.
#[derive(Debug)]
pub struct Reader {
    connection: SqliteConnection,
    file: PathBuf,
    /// Whether the file has events: an older version's has none.
    has_events: bool,
}

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// Its id.
    pub id: RunId,
    /// Who measured it.
    pub source: Source,
    /// When it had ended.
    pub ended_at: Timestamp,
    /// The fields of the environment as a JSON object; absent when none is known.
    pub environment: Option<String>,
    /// The run's JSON, exactly as it was stored.
    pub json: String,
    /// Its requests, a JSON array. Absent when they were not asked for, or are not kept any more.
    pub requests: Option<String>,
}

impl StoredRun {
    /// The run with its requests, as far as they are here.
    ///
    /// # Errors
    /// When the file holds what this version cannot read.
    pub fn read(&self) -> Result<RunJson, Unreadable> {
        let mut run = read_run(&self.json)?;
        if let Some(requests) = &self.requests {
            let requests = serde_json::from_str(requests);
            run.request_records =
                Some(requests.map_err(|error| Unreadable::new(format!("its requests: {error}")))?);
        }
        Ok(run)
    }
}

impl FromRow<'_, SqliteRow> for StoredRun {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let source: String = row.try_get("source")?;
        Ok(Self {
            id: RunId(row.try_get("id")?),
            source: Source::from_label(&source)
                .ok_or_else(|| sqlx::Error::Decode(format!("the source {source:?}").into()))?,
            ended_at: timestamp(row.try_get("ended_at")?),
            environment: row.try_get("environment")?,
            json: row.try_get("json")?,
            requests: row.try_get("requests")?,
        })
    }
}

/// The last run of a series that the prober itself measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Whose.
    pub series: Series,
    /// The run, without its requests.
    pub run: StoredRun,
    /// The end of the last one that counts; absent when there is none.
    pub last_valid: Option<Timestamp>,
}

/// A point of a series, and which run it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoint {
    /// Which run.
    pub id: RunId,
    /// When it had ended.
    pub ended_at: Timestamp,
    /// What is judged.
    pub point: Point,
}

/// The columns of [`SeriesPoint`], by whose places it is read: names would be looked up for each of many rows.
const POINT: &str = "SELECT id, ended_at, valid, contaminated, restarted, observable, fingerprint, \
    decode_tokens_rate, requests_rate, prompt_tokens_rate, ttft_p50, tpot_p50, e2e_p50, \
    completion_tokens_mean FROM point WHERE series = \
    (SELECT key FROM series WHERE deployment = ? AND workload = ? AND workload_id = ?) \
    AND ended_at >= ? ORDER BY ended_at, id";

impl FromRow<'_, SqliteRow> for SeriesPoint {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: RunId(row.try_get(0)?),
            ended_at: timestamp(row.try_get(1)?),
            point: Point {
                valid: row.try_get(2)?,
                contaminated: row.try_get(3)?,
                restarted: row.try_get(4)?,
                observable: row.try_get(5)?,
                fingerprint: row.try_get(6)?,
                decode_tokens_rate: row.try_get(7)?,
                requests_rate: row.try_get(8)?,
                prompt_tokens_rate: row.try_get(9)?,
                ttft_p50: row.try_get(10)?,
                tpot_p50: row.try_get(11)?,
                e2e_p50: row.try_get(12)?,
                completion_tokens_mean: row.try_get(13)?,
            },
        })
    }
}

/// Which runs, and in which order.
#[derive(Clone, Debug)]
pub struct Page {
    /// Of this deployment only.
    pub deployment: Option<String>,
    /// Of this workload only.
    pub workload: Option<String>,
    /// By the time at which they ended.
    pub order: Order,
    /// The last one of the page before; absent for the first page.
    pub after: Option<RunId>,
    /// Not more than these.
    pub limit: u32,
}

/// An order of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Order {
    NewestFirst,
    OldestFirst,
}

/// A place in the order of runs: a run's end, and its id among those that ended at once.
type Place = (i64, String);

impl Reader {
    /// Reads the history in `directory`, while a daemon writes it or not.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn open(directory: &Path) -> Result<Self, HistoryError> {
        Self::open_file(&directory.join(FILE)).await
    }

    pub(super) async fn open_file(file: &Path) -> Result<Self, HistoryError> {
        if !file.exists() {
            return Err(HistoryError::new(
                file,
                "there is no history here; name the directory that `serve --storage.path` has",
            ));
        }
        let options = options(file).read_only(true).row_buffer_size(ROWS_AHEAD);
        let connection = options.connect().await;
        let mut connection = connection.map_err(|error| HistoryError::of(file, &error))?;
        let version = schema::check(&mut connection, file).await?;
        if version == 0 {
            return Err(HistoryError::new(
                file,
                "it is empty; start the daemon once, or import runs",
            ));
        }
        Ok(Self {
            connection,
            file: file.to_owned(),
            has_events: version >= schema::EVENTS,
        })
    }

    /// The last run of every series that the prober measured.
    ///
    /// # Errors
    /// When the file cannot be read; so do the other questions.
    pub async fn latest(&mut self) -> Result<Vec<Latest>, HistoryError> {
        let rows = sqlx::query(
            "SELECT s.deployment, s.workload, s.workload_id, r.id, r.source, r.ended_at, r.environment, r.json,
                    NULL AS requests,
                    (SELECT p.ended_at FROM point p WHERE p.series = s.key AND p.valid
                     ORDER BY p.ended_at DESC LIMIT 1) AS last_valid
             FROM series s JOIN run r ON r.id =
                  (SELECT p.id FROM point p JOIN run m ON m.id = p.id
                   WHERE p.series = s.key AND m.source = 'prober' ORDER BY p.ended_at DESC, p.id DESC LIMIT 1)
             ORDER BY s.deployment, s.workload, s.workload_id",
        )
        .fetch_all(&mut self.connection)
        .await;
        let latest = |row: &SqliteRow| {
            Ok(Latest {
                series: Series::from_row(row)?,
                run: StoredRun::from_row(row)?,
                last_valid: row.try_get::<Option<i64>, _>("last_valid")?.map(timestamp),
            })
        };
        let found = rows.and_then(|rows| rows.iter().map(latest).collect());
        found.map_err(|error| self.failed(&error))
    }

    /// A page of runs, without their requests.
    ///
    /// # Errors
    /// Also when the run that `after` names is not there, so that the page cannot be placed.
    pub async fn page(&mut self, page: &Page) -> Result<Vec<StoredRun>, HistoryError> {
        let from = match &page.after {
            Some(id) => Some(self.place(id).await?),
            None => None,
        };
        let rows = if page.deployment.is_none() && page.workload.is_none() {
            self.of_all(page, from).await
        } else {
            self.of_some(page, from).await
        };
        rows.map_err(|error| self.failed(&error))
    }

    async fn place(&mut self, id: &RunId) -> Result<Place, HistoryError> {
        let ended_at = sqlx::query_scalar("SELECT ended_at FROM run WHERE id = ?")
            .bind(&id.0)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|error| self.failed(&error))?;
        let unknown = || HistoryError::unknown_run(&self.file, id);
        Ok((ended_at.ok_or_else(unknown)?, id.0.clone()))
    }

    async fn of_all(
        &mut self,
        page: &Page,
        from: Option<Place>,
    ) -> Result<Vec<StoredRun>, sqlx::Error> {
        let sql = match page.order {
            Order::NewestFirst => {
                "SELECT *, NULL AS requests FROM run WHERE (ended_at, id) < (?1, ?2) ORDER BY ended_at DESC, id DESC LIMIT ?3"
            }
            Order::OldestFirst => {
                "SELECT *, NULL AS requests FROM run WHERE (ended_at, id) > (?1, ?2) ORDER BY ended_at, id LIMIT ?3"
            }
        };
        let (ended_at, id) = from.unwrap_or_else(|| page.order.before_all());
        sqlx::query_as(sql)
            .bind(ended_at)
            .bind(id)
            .bind(page.limit)
            .fetch_all(&mut self.connection)
            .await
    }

    /// The next of each series, merged: what is asked of the file does not grow with it.
    async fn of_some(
        &mut self,
        page: &Page,
        from: Option<Place>,
    ) -> Result<Vec<StoredRun>, sqlx::Error> {
        let keys: Vec<i64> = sqlx::query_scalar(
            "SELECT key FROM series WHERE (?1 IS NULL OR deployment = ?1) AND (?2 IS NULL OR workload = ?2)",
        )
        .bind(&page.deployment)
        .bind(&page.workload)
        .fetch_all(&mut self.connection)
        .await?;
        let sql = match page.order {
            Order::NewestFirst => {
                "SELECT ended_at, id FROM point WHERE series = ?1 AND (ended_at, id) < (?2, ?3)
                 ORDER BY ended_at DESC, id DESC LIMIT ?4"
            }
            Order::OldestFirst => {
                // The points of old runs are kept for longer than the runs.
                "SELECT ended_at, id FROM point WHERE series = ?1 AND (ended_at, id) > (?2, ?3)
                 AND ended_at >= (SELECT min(ended_at) FROM run) ORDER BY ended_at, id LIMIT ?4"
            }
        };
        let (ended_at, id) = from.unwrap_or_else(|| page.order.before_all());
        let mut places: Vec<Place> = Vec::new();
        for key in keys {
            let next: Vec<Place> = sqlx::query_as(sql)
                .bind(key)
                .bind(ended_at)
                .bind(&id)
                .bind(page.limit)
                .fetch_all(&mut self.connection)
                .await?;
            places.extend(next);
        }
        places.sort();
        if page.order == Order::NewestFirst {
            places.reverse();
        }
        places.truncate(page.limit as usize);
        let mut runs = Vec::new();
        for (_, id) in places {
            let run = sqlx::query_as("SELECT *, NULL AS requests FROM run WHERE id = ?")
                .bind(id)
                .fetch_optional(&mut self.connection)
                .await?;
            // It may have been pruned meanwhile.
            runs.extend(run);
        }
        Ok(runs)
    }

    /// One run with its requests, if they are still kept; `None` when there is no such run.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn run(&mut self, id: &RunId) -> Result<Option<StoredRun>, HistoryError> {
        sqlx::query_as(
            "SELECT run.*, requests.json AS requests FROM run LEFT JOIN requests USING (id) WHERE id = ?",
        )
        .bind(&id.0)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// Every series that has runs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn all_series(&mut self) -> Result<Vec<Series>, HistoryError> {
        sqlx::query_as(
            "SELECT deployment, workload, workload_id FROM series
             WHERE EXISTS (SELECT 1 FROM point WHERE point.series = series.key)
             ORDER BY deployment, workload, workload_id",
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// The points of a series from `since` on, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn series(
        &mut self,
        series: &Series,
        since: Timestamp,
    ) -> Result<Vec<SeriesPoint>, HistoryError> {
        sqlx::query_as(POINT)
            .bind(&series.deployment)
            .bind(&series.workload)
            .bind(&series.workload_id)
            .bind(nanos(since))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// The last `limit` runs of a series, oldest first, without their requests.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn last_runs(
        &mut self,
        series: &Series,
        limit: usize,
    ) -> Result<Vec<StoredRun>, HistoryError> {
        let rows = sqlx::query_as(
            "SELECT run.*, NULL AS requests FROM point JOIN run USING (id) WHERE point.series =
                 (SELECT key FROM series WHERE deployment = ? AND workload = ? AND workload_id = ?)
             ORDER BY point.ended_at DESC, point.id DESC LIMIT ?",
        )
        .bind(&series.deployment)
        .bind(&series.workload)
        .bind(&series.workload_id)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await;
        let mut runs: Vec<StoredRun> = rows.map_err(|error| self.failed(&error))?;
        runs.reverse();
        Ok(runs)
    }

    /// Every intervention in the judging of a series, or of all, in the order in which they were said.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn interventions(
        &mut self,
        series: Option<&Series>,
    ) -> Result<Vec<StoredIntervention>, HistoryError> {
        if !self.has_events {
            return Ok(Vec::new());
        }
        let found = event::interventions(&mut self.connection, series).await;
        found.map_err(|error| self.failed(&error))
    }

    /// Every change of the environment of a deployment, or of all, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn environment_changes(
        &mut self,
        deployment: Option<&str>,
    ) -> Result<Vec<EnvironmentChange>, HistoryError> {
        if !self.has_events {
            return Ok(Vec::new());
        }
        let found = event::environment_changes(&mut self.connection, deployment).await;
        found.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &sqlx::Error) -> HistoryError {
        HistoryError::of(&self.file, error)
    }
}

impl Order {
    /// Where the first page begins.
    fn before_all(self) -> Place {
        match self {
            Self::NewestFirst => (i64::MAX, String::new()),
            Self::OldestFirst => (i64::MIN, String::new()),
        }
    }
}
