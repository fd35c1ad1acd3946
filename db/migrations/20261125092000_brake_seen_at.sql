-- migrate:up

-- A worker that pauses updates this column regularly, so that the row of a dead worker does not count.
ALTER TABLE brakes ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- migrate:down

ALTER TABLE brakes DROP COLUMN seen_at;
