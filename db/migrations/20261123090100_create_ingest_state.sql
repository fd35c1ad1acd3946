-- migrate:up

-- The stored offsets, from which the engine continues. A batch moves them in its transaction, by compare-and-set.
CREATE TABLE consumed_offsets (
    consumer_group   text NOT NULL,
    topic            text NOT NULL,
    partition        integer NOT NULL,
    next_offset      bigint NOT NULL CHECK (next_offset >= 0),
    -- The last consumed record before next_offset. It shows whether the topic was deleted and created again.
    last_offset      bigint,
    last_timestamp   bigint,
    last_checksum    bigint,
    epoch            integer NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);

-- One row per committed batch: the worker that wrote it, its source offsets, and whether the cache is up to date.
CREATE TABLE batches (
    batch_id      uuid PRIMARY KEY,
    consumer_group text NOT NULL,
    topic         text NOT NULL,
    worker        text NOT NULL,
    host          text NOT NULL,
    sources       jsonb NOT NULL,
    consumed_at   timestamptz NOT NULL,
    validated_at  timestamptz NOT NULL,
    committed_at  timestamptz NOT NULL,
    cached_at     timestamptz,
    messages      integer NOT NULL,
    inserted      integer NOT NULL,
    changed       integer NOT NULL,
    unchanged     integer NOT NULL,
    rejected      integer NOT NULL,
    -- The keys whose cached answer is stale until this batch is cached. Empty for a batch with only new keys.
    changed_keys  text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX batches_uncached_idx ON batches (committed_at) WHERE cached_at IS NULL;

CREATE TABLE dead_letters (
    topic            text NOT NULL,
    partition        integer NOT NULL,
    kafka_offset     bigint NOT NULL,
    key              bytea,
    payload          bytea,
    headers          jsonb NOT NULL DEFAULT '[]',
    reason           text NOT NULL,
    errors           jsonb NOT NULL DEFAULT '[]',
    subject          text,
    produced_at      timestamptz NOT NULL,
    failed_at        timestamptz NOT NULL,
    batch_id         uuid NOT NULL,
    consumer_group   text NOT NULL,
    -- The outbox to the dead-letter topic.
    published_at     timestamptz,
    publish_error    text,
    resolved_at      timestamptz,
    replay_count     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition, kafka_offset)
);
CREATE INDEX dead_letters_outbox_idx ON dead_letters (failed_at) WHERE published_at IS NULL AND publish_error IS NULL;
CREATE INDEX dead_letters_failed_at_idx ON dead_letters (failed_at);

-- Every supervisor writes the state of its workers here once a second. HTTP servers on any machine read it.
CREATE TABLE workers (
    worker_id     text PRIMARY KEY,
    worker        text NOT NULL,
    host          text NOT NULL,
    pid           integer NOT NULL,
    state         text NOT NULL,
    partitions    integer[] NOT NULL,
    restarts      integer NOT NULL,
    started_at    timestamptz NOT NULL,
    heartbeat_at  timestamptz NOT NULL,
    details       jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX workers_heartbeat_at_idx ON workers (heartbeat_at);

-- migrate:down

DROP TABLE workers;
DROP TABLE dead_letters;
DROP TABLE batches;
DROP TABLE consumed_offsets;
