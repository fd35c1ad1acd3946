-- migrate:up

-- Counts the openings of a partition: only the worker that opened it last may move its offset.
ALTER TABLE consumed_offsets ADD COLUMN fencing_token bigint NOT NULL DEFAULT 0;

-- migrate:down

ALTER TABLE consumed_offsets DROP COLUMN fencing_token;
