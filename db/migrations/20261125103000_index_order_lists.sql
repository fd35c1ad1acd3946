-- migrate:up

-- Lists are read page by page, the newest first, in the order of this index. The few orders of a customer or a track
-- number are sorted when they are read: narrower indexes are cheaper to write.
CREATE INDEX orders_newest_idx ON orders (date_created, order_uid);
CREATE INDEX orders_track_number_idx ON orders (track_number);
DROP INDEX orders_date_created_idx;

-- migrate:down

CREATE INDEX orders_date_created_idx ON orders (date_created);
DROP INDEX orders_track_number_idx, orders_newest_idx;
