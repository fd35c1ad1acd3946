-- migrate:up

-- A worker that pauses says again and again that it does: one that died no longer counts.
ALTER TABLE brakes ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- migrate:down

ALTER TABLE brakes DROP COLUMN seen_at;
