-- migrate:up

-- Resolved dead letters are deleted after some time, the oldest first. Unresolved ones are not in this index.
CREATE INDEX dead_letters_resolved_at_idx ON dead_letters (resolved_at) WHERE resolved_at IS NOT NULL;

-- migrate:down

DROP INDEX dead_letters_resolved_at_idx;
