-- migrate:up

-- Both tables are locked only for a moment, in the same order as a batch does: the offsets first. If another session
-- holds a lock for long (a backup, a report), the engine must not wait behind this migration: it fails and can be run
-- again.
SET LOCAL lock_timeout = '10s';

-- Orders that were written before the column below have no topic. They can only come from a topic that was consumed
-- before now: existing rows get true, later rows false. No row is rewritten.
ALTER TABLE consumed_offsets ADD COLUMN predates_source_topic boolean NOT NULL DEFAULT true;
ALTER TABLE consumed_offsets ALTER COLUMN predates_source_topic SET DEFAULT false;

-- The topic to which source_partition and source_offset belong. There is no default: no row is rewritten, and an engine
-- that does not know the column can run at the same time.
ALTER TABLE orders ADD COLUMN source_topic text;

-- migrate:down

SET LOCAL lock_timeout = '10s';
ALTER TABLE consumed_offsets DROP COLUMN predates_source_topic;
ALTER TABLE orders DROP COLUMN source_topic;
