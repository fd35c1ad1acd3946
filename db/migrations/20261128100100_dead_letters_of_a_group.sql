-- migrate:up

-- Workers from before version 1 name the old key, and would wait without end for it to come back. A row lasts as long as
-- its supervisor: one that was killed is believed to run for a minute.
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

-- What takes time comes first: it lets others read. The change of the key takes none.
CREATE UNIQUE INDEX dead_letters_group_key ON dead_letters (consumer_group, topic, partition, kafka_offset);
CREATE INDEX dead_letters_group_outbox_idx ON dead_letters (consumer_group, topic, failed_at, partition, kafka_offset)
    WHERE published_at IS NULL AND publish_error IS NULL;
CREATE INDEX dead_letters_group_open_idx ON dead_letters (consumer_group, topic, failed_at, partition, kafka_offset)
    WHERE resolved_at IS NULL;
-- A replay, and an order's story, ask for the letters of a place, whosesoever they are.
CREATE INDEX dead_letters_place_idx ON dead_letters (topic, partition, kafka_offset);
DROP INDEX dead_letters_outbox_idx, dead_letters_open_idx;
ALTER INDEX dead_letters_group_outbox_idx RENAME TO dead_letters_outbox_idx;
ALTER INDEX dead_letters_group_open_idx RENAME TO dead_letters_open_idx;
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_pkey,
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY USING INDEX dead_letters_group_key;

-- migrate:down

-- Without the group there is room for one letter of a place. Of several groups' letters of the same message the one
-- that is not resolved stays, and of these the last to fail; the others are deleted. Stop all engines before.
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
