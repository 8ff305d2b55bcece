-- What people said of verdicts. It took effect after the run `after_run` of its series: two clocks need not agree on
-- what came first.
CREATE TABLE intervention (
    id        TEXT PRIMARY KEY,
    series    INTEGER NOT NULL REFERENCES series (key),
    at        INTEGER NOT NULL,
    after_run TEXT,
    act       TEXT NOT NULL,
    until     INTEGER,
    measure   TEXT,
    by        TEXT NOT NULL,
    why       TEXT NOT NULL
) STRICT;
CREATE INDEX intervention_by_series ON intervention (series, at, id);

-- Every change of what a deployment runs on: `fields` is a JSON array of the fields with their values before and
-- after, `run` the first run on the new one.
CREATE TABLE environment_change (
    id         TEXT PRIMARY KEY,
    deployment TEXT NOT NULL,
    at         INTEGER NOT NULL,
    run        TEXT NOT NULL,
    fields     TEXT NOT NULL
) STRICT;
CREATE INDEX environment_change_by_deployment ON environment_change (deployment, at, id);
