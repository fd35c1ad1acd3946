-- migrate:up

-- Lists of unresolved dead letters, the last failure first, do not read the resolved ones.
CREATE INDEX dead_letters_open_idx ON dead_letters (topic, failed_at, partition, kafka_offset) WHERE resolved_at IS NULL;

-- migrate:down

DROP INDEX dead_letters_open_idx;
