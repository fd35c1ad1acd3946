-- migrate:up

-- One row per worker that pauses because too many recent messages were rejected. Deleting the row ends the pause.
CREATE TABLE brakes (
    brake_id       uuid PRIMARY KEY,
    consumer_group text NOT NULL,
    topic          text NOT NULL,
    worker         text NOT NULL,
    host           text NOT NULL,
    engaged_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    until          timestamptz NOT NULL,
    rejected       integer NOT NULL,
    messages       integer NOT NULL
);

-- migrate:down

DROP TABLE brakes;
