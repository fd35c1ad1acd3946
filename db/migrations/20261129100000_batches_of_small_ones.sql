-- migrate:up

SET LOCAL lock_timeout = '10s';

-- The transaction that moved the offset last: after a connection was lost during COMMIT this says whether it was committed.
ALTER TABLE consumed_offsets ADD COLUMN write_id uuid;

-- Small batches that follow each other quickly share a row. ended_at is the last one's commit: infinity until that is known,
-- NULL in the row of a batch of its own. worker_clock is the worker's clock at validated_at, in shared rows alone.
ALTER TABLE batches ADD COLUMN ended_at timestamptz, ADD COLUMN worker_clock timestamptz;

-- Room for a shared row's counts beside the row itself, so that no index has to follow.
ALTER TABLE batches SET (fillfactor = 80);

-- By group and topic: old rows of another one must not be read again and again by whoever deletes his own.
CREATE INDEX batches_of_a_group_idx ON batches (consumer_group, topic, committed_at);
DROP INDEX batches_committed_at_idx;

-- migrate:down

SET LOCAL lock_timeout = '10s';
CREATE INDEX batches_committed_at_idx ON batches (committed_at);
DROP INDEX batches_of_a_group_idx;
ALTER TABLE batches RESET (fillfactor);
ALTER TABLE batches DROP COLUMN ended_at, DROP COLUMN worker_clock;
ALTER TABLE consumed_offsets DROP COLUMN write_id;
