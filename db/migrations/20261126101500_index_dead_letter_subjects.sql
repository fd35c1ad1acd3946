-- migrate:up

-- An order's story tells of its dead letters, the last ones to fail first. Orders that are accepted cost it nothing.
CREATE INDEX dead_letters_subject_idx ON dead_letters (subject, failed_at) WHERE subject IS NOT NULL;

-- migrate:down

DROP INDEX dead_letters_subject_idx;
