-- migrate:up

ALTER TABLE dead_letters
    -- The generation of the topic that kafka_offset counts in, as in consumed_offsets.
    ADD COLUMN epoch         integer NOT NULL DEFAULT 0,
    ADD COLUMN replayed_at   timestamptz,
    -- The count of the last replay that came back; while replay_count is higher, one is on its way.
    ADD COLUMN settled_count integer NOT NULL DEFAULT 0;

-- migrate:down

ALTER TABLE dead_letters DROP COLUMN settled_count, DROP COLUMN replayed_at, DROP COLUMN epoch;
