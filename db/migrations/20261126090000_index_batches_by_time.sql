-- migrate:up

-- What was committed lately is read every second while somebody watches. Batches come in this order: the index only grows
-- at its end.
CREATE INDEX batches_committed_at_idx ON batches (committed_at);

-- migrate:down

DROP INDEX batches_committed_at_idx;
