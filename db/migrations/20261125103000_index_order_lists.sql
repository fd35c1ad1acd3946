-- migrate:up

-- Lists are read newest first and page by page: each index holds its list in that very order.
CREATE INDEX orders_newest_idx ON orders (date_created, order_uid);
CREATE INDEX orders_customer_newest_idx ON orders (customer_id, date_created, order_uid);
CREATE INDEX orders_track_number_newest_idx ON orders (track_number, date_created, order_uid);
DROP INDEX orders_date_created_idx, orders_customer_id_idx;

-- migrate:down

CREATE INDEX orders_date_created_idx ON orders (date_created);
CREATE INDEX orders_customer_id_idx ON orders (customer_id);
DROP INDEX orders_track_number_newest_idx, orders_customer_newest_idx, orders_newest_idx;
