-- migrate:up

-- The trace of the message that the stored version came from, if it named one. Without a default: no row is rewritten.
ALTER TABLE orders ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE orders DROP COLUMN traceparent;
