-- migrate:up

-- Only long enough to change the catalogue: whoever holds the table for long must not make the engine wait behind this.
SET LOCAL lock_timeout = '10s';

-- Changed orders whose cached answer may be the old one, written in the transaction that changes them, and deleted once the
-- cache has followed. batches.cached_at and batches.changed_keys held this before: engines of the build before use them.
CREATE TABLE cache_pending (
    id           uuid PRIMARY KEY,
    batch_id     uuid NOT NULL,
    order_uids   text[] NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX cache_pending_committed_at_idx ON cache_pending (committed_at);

-- When a batch of orders was brought into the cache.
CREATE TABLE cached_batches (
    batch_id  uuid PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    cached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- migrate:down

SET LOCAL lock_timeout = '10s';
UPDATE batches SET cached_at = cached_batches.cached_at FROM cached_batches WHERE cached_batches.batch_id = batches.batch_id;
UPDATE batches SET cached_at = NULL, changed_keys = p.uids
FROM (SELECT batch_id, array_agg(uid) AS uids FROM cache_pending, unnest(order_uids) AS uid GROUP BY batch_id) p
WHERE batches.batch_id = p.batch_id;
DROP TABLE cached_batches;
DROP TABLE cache_pending;
