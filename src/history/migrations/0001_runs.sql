-- A series is what may be compared: one workload, exactly so, on one deployment.
CREATE TABLE series (
    key         INTEGER PRIMARY KEY,
    deployment  TEXT NOT NULL,
    workload    TEXT NOT NULL,
    workload_id TEXT NOT NULL,
    UNIQUE (deployment, workload, workload_id)
) STRICT;

-- Every finished run as it is shown and exported: `json` is of the schema that `source` names, without its requests.
-- Times are nanoseconds since the Unix epoch, in UTC.
CREATE TABLE run (
    id          TEXT PRIMARY KEY,
    series      INTEGER NOT NULL REFERENCES series (key),
    source      TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    environment TEXT,
    json        TEXT NOT NULL
) STRICT;
CREATE INDEX run_by_end ON run (ended_at, id);

-- What is judged of a run, apart from the wide rows above: the points of a series lie next to each other, in order.
-- Figures of a run that does not count are NULL, as are those that were not measured.
CREATE TABLE point (
    series                 INTEGER NOT NULL REFERENCES series (key),
    ended_at               INTEGER NOT NULL,
    id                     TEXT NOT NULL,
    valid                  INTEGER NOT NULL,
    contaminated           INTEGER NOT NULL,
    restarted              INTEGER NOT NULL,
    observable             INTEGER NOT NULL,
    fingerprint            TEXT,
    decode_tokens_rate     REAL,
    requests_rate          REAL,
    prompt_tokens_rate     REAL,
    ttft_p50               REAL,
    tpot_p50               REAL,
    e2e_p50                REAL,
    completion_tokens_mean REAL,
    PRIMARY KEY (series, ended_at, id)
) STRICT, WITHOUT ROWID;

-- The single requests of a run, which are kept for a shorter time.
CREATE TABLE requests (
    id       TEXT PRIMARY KEY,
    ended_at INTEGER NOT NULL,
    json     TEXT NOT NULL
) STRICT;
CREATE INDEX requests_by_end ON requests (ended_at, id);
