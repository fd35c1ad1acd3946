-- migrate:up

-- The trace of the stored version's message, if it has one. There is no default, so no row is rewritten.
ALTER TABLE orders ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE orders DROP COLUMN traceparent;
