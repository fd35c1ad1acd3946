-- migrate:up

-- What an operator has paused: a partition of a consumer group, or -1 for all of them.
CREATE TABLE pauses (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= -1),
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);

-- migrate:down

DROP TABLE pauses;
