-- Whether a run is a mere sign of life, of which there are many and which none judges: kept for a shorter time. Runs
-- that were stored before are kept as all others are.
ALTER TABLE run ADD COLUMN light INTEGER NOT NULL DEFAULT 0;
CREATE INDEX light_run_by_end ON run (ended_at, id) WHERE light;
