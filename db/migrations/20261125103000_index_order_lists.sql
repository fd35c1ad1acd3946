-- migrate:up

-- Lists are read newest first and page by page, in the order of this index. What has a customer's or a track number's few
-- orders is sorted as it is read: narrower indexes are cheaper to write.
CREATE INDEX orders_newest_idx ON orders (date_created, order_uid);
CREATE INDEX orders_track_number_idx ON orders (track_number);
DROP INDEX orders_date_created_idx;

-- migrate:down

CREATE INDEX orders_date_created_idx ON orders (date_created);
DROP INDEX orders_track_number_idx, orders_newest_idx;
