-- migrate:up

-- What is resolved is deleted after a while, the oldest first. A letter is not in here while it is not resolved.
CREATE INDEX dead_letters_resolved_at_idx ON dead_letters (resolved_at) WHERE resolved_at IS NOT NULL;

-- migrate:down

DROP INDEX dead_letters_resolved_at_idx;
