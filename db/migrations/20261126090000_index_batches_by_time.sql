-- migrate:up

-- Recent batches are read every second while the operations page is open. Batches are inserted in this order, so the
-- index grows only at its end.
CREATE INDEX batches_committed_at_idx ON batches (committed_at);

-- migrate:down

DROP INDEX batches_committed_at_idx;
