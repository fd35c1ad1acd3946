-- migrate:up

-- Workers from before version 1 use the old key and would retry without end. A supervisor deletes its rows when it
-- stops. A supervisor that was killed counts as running for one minute.
DO $$
DECLARE running text;
BEGIN
    SELECT string_agg(told, ', ' ORDER BY told) INTO running FROM (
        SELECT format('%s of %s on %s', string_agg(worker, ' ' ORDER BY worker), consumer_group, host) AS told
        FROM workers WHERE version < 1 AND heartbeat_at > clock_timestamp() - interval '1 minute'
        GROUP BY consumer_group, host
    ) AS heard;
    IF running IS NOT NULL THEN
        RAISE EXCEPTION 'cannot migrate: workers of an older build were heard in the last minute (%): '
            'stop their engines, run `orderflow migrate` again, and start engines of the new build', running;
    END IF;
END $$;

-- The slow statements come first: they do not block readers. The change of the key is fast.
CREATE UNIQUE INDEX dead_letters_group_key ON dead_letters (consumer_group, topic, partition, kafka_offset);
CREATE INDEX dead_letters_group_outbox_idx ON dead_letters (consumer_group, topic, failed_at, partition, kafka_offset)
    WHERE published_at IS NULL AND publish_error IS NULL;
CREATE INDEX dead_letters_group_open_idx ON dead_letters (consumer_group, topic, failed_at, partition, kafka_offset)
    WHERE resolved_at IS NULL;
-- Replays and order stories look up the dead letters of a partition and offset, of all groups.
CREATE INDEX dead_letters_place_idx ON dead_letters (topic, partition, kafka_offset);
DROP INDEX dead_letters_outbox_idx, dead_letters_open_idx;
ALTER INDEX dead_letters_group_outbox_idx RENAME TO dead_letters_outbox_idx;
ALTER INDEX dead_letters_group_open_idx RENAME TO dead_letters_open_idx;
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_pkey,
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY USING INDEX dead_letters_group_key;

-- migrate:down

-- Without the group the key allows one dead letter per partition and offset. If several groups have one for the same
-- message, an unresolved one is kept, and among these the last to fail. The others are deleted. Stop all engines first.
DELETE FROM dead_letters d USING (
    SELECT consumer_group, topic, partition, kafka_offset, row_number() OVER (
        PARTITION BY topic, partition, kafka_offset ORDER BY resolved_at IS NOT NULL, failed_at DESC, consumer_group
    ) AS rank FROM dead_letters
) AS ranked
WHERE ranked.rank > 1
  AND (d.consumer_group, d.topic, d.partition, d.kafka_offset)
      = (ranked.consumer_group, ranked.topic, ranked.partition, ranked.kafka_offset);
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_pkey, ADD PRIMARY KEY (topic, partition, kafka_offset);
DROP INDEX dead_letters_place_idx, dead_letters_outbox_idx, dead_letters_open_idx;
CREATE INDEX dead_letters_outbox_idx ON dead_letters (failed_at) WHERE published_at IS NULL AND publish_error IS NULL;
CREATE INDEX dead_letters_open_idx ON dead_letters (topic, failed_at, partition, kafka_offset) WHERE resolved_at IS NULL;
