-- migrate:up

-- Letters that are not resolved are listed, the last ones to fail first, without reading those that are.
CREATE INDEX dead_letters_open_idx ON dead_letters (topic, failed_at, partition, kafka_offset) WHERE resolved_at IS NULL;

-- migrate:down

DROP INDEX dead_letters_open_idx;
