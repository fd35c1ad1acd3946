-- migrate:up

ALTER TABLE dead_letters
    -- The epoch of the topic to which kafka_offset belongs, as in consumed_offsets.
    ADD COLUMN epoch         integer NOT NULL DEFAULT 0,
    ADD COLUMN replayed_at   timestamptz,
    -- The count of the last processed replay. While replay_count is higher, a replay is on its way.
    ADD COLUMN settled_count integer NOT NULL DEFAULT 0;

-- migrate:down

ALTER TABLE dead_letters DROP COLUMN settled_count, DROP COLUMN replayed_at, DROP COLUMN epoch;
