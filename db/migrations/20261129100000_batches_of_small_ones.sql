-- migrate:up

SET LOCAL lock_timeout = '10s';

-- The last transaction that moved the offset. If a connection is lost during COMMIT, it shows whether it was committed.
ALTER TABLE consumed_offsets ADD COLUMN write_id uuid;

-- Small batches that follow each other quickly share a row. ended_at is the commit time of the last batch: infinity while it
-- is unknown, and NULL if the row is not shared. worker_clock is validated_at by the worker's clock, only in shared rows.
ALTER TABLE batches ADD COLUMN ended_at timestamptz, ADD COLUMN worker_clock timestamptz;

-- Free space in each page for updates of the counts of shared rows, so that the indexes do not have to be updated (HOT).
ALTER TABLE batches SET (fillfactor = 80);

-- By group and topic, so that the old rows of one group are not read again and again when those of another are deleted.
CREATE INDEX batches_of_a_group_idx ON batches (consumer_group, topic, committed_at);
DROP INDEX batches_committed_at_idx;

-- migrate:down

SET LOCAL lock_timeout = '10s';
CREATE INDEX batches_committed_at_idx ON batches (committed_at);
DROP INDEX batches_of_a_group_idx;
ALTER TABLE batches RESET (fillfactor);
ALTER TABLE batches DROP COLUMN ended_at, DROP COLUMN worker_clock;
ALTER TABLE consumed_offsets DROP COLUMN write_id;
