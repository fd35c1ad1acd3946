-- migrate:up

-- Both tables are locked for a moment only, and the offsets first, as a batch does. Whoever holds one of them for long (a
-- backup, a report) must not make the engine wait behind this: then it fails, and is run again later.
SET LOCAL lock_timeout = '10s';

-- Orders that were written before the column below name no topic. They may be of a topic that was consumed by then, and
-- are of no other: the rows that are here now hold true, every later one false. No row is rewritten.
ALTER TABLE consumed_offsets ADD COLUMN predates_source_topic boolean NOT NULL DEFAULT true;
ALTER TABLE consumed_offsets ALTER COLUMN predates_source_topic SET DEFAULT false;

-- The topic that source_partition and source_offset count in. Without a default: no row is rewritten, and an engine that
-- does not know the column goes on beside this one.
ALTER TABLE orders ADD COLUMN source_topic text;

-- migrate:down

SET LOCAL lock_timeout = '10s';
ALTER TABLE consumed_offsets DROP COLUMN predates_source_topic;
ALTER TABLE orders DROP COLUMN source_topic;
