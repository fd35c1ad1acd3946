-- migrate:up

-- The story of an order shows its dead letters, the last failure first. Accepted orders add nothing to this index.
CREATE INDEX dead_letters_subject_idx ON dead_letters (subject, failed_at) WHERE subject IS NOT NULL;

-- migrate:down

DROP INDEX dead_letters_subject_idx;
