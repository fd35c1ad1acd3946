-- migrate:up

SET LOCAL lock_timeout = '10s';

-- The expression is the one in the queries. It keeps them from using other indexes that contain failed_at: see WAITING_ORDER
-- in engine/dead_letters/outbox.py.
CREATE INDEX dead_letters_waiting_idx
    ON dead_letters (consumer_group, topic, (failed_at AT TIME ZONE 'UTC'), partition, kafka_offset) INCLUDE (failed_at)
    WHERE published_at IS NULL AND publish_error IS NULL;

-- `orderflow dlq publish --refused` finds the letters that were set aside.
CREATE INDEX dead_letters_set_aside_idx ON dead_letters (consumer_group, topic, publish_error)
    WHERE publish_error IS NOT NULL AND resolved_at IS NULL;

-- After the indexes: while they are built, letters can be read. These statements lock the table only for a moment.
DROP INDEX dead_letters_outbox_idx;
-- Whoever sends a letter to the dead-letter topic claims it until claimed_until, and renews the claim while it sends.
ALTER TABLE dead_letters ADD COLUMN claimed_by uuid, ADD COLUMN claimed_until timestamptz;

-- migrate:down

SET LOCAL lock_timeout = '10s';
DROP INDEX dead_letters_set_aside_idx, dead_letters_waiting_idx;
CREATE INDEX dead_letters_outbox_idx ON dead_letters (consumer_group, topic, failed_at, partition, kafka_offset)
    WHERE published_at IS NULL AND publish_error IS NULL;
ALTER TABLE dead_letters DROP COLUMN claimed_until, DROP COLUMN claimed_by;
