-- The reference schema. The raw COPY limit is measured on it, and peers write to it. Four normalised tables with keys,
-- checks, foreign keys, and the indexes of a simple design.
CREATE TABLE orders (
    order_uid          text PRIMARY KEY,
    track_number       text NOT NULL,
    entry              text NOT NULL,
    locale             text NOT NULL,
    internal_signature text,
    customer_id        text NOT NULL,
    delivery_service   text,
    shardkey           text,
    sm_id              integer,
    date_created       timestamptz NOT NULL,
    oof_shard          text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON orders (date_created);
CREATE INDEX ON orders (customer_id);

CREATE TABLE deliveries (
    order_uid text PRIMARY KEY REFERENCES orders ON DELETE CASCADE,
    name      text NOT NULL,
    phone     text NOT NULL,
    zip       text NOT NULL,
    city      text NOT NULL,
    address   text NOT NULL,
    region    text NOT NULL,
    email     text NOT NULL
);

CREATE TABLE payments (
    order_uid     text PRIMARY KEY REFERENCES orders ON DELETE CASCADE,
    transaction   text NOT NULL,
    request_id    text,
    currency      text NOT NULL,
    provider      text NOT NULL,
    amount        integer NOT NULL CHECK (amount >= 0),
    payment_dt    bigint NOT NULL CHECK (payment_dt > 0),
    bank          text NOT NULL,
    delivery_cost integer NOT NULL CHECK (delivery_cost >= 0),
    goods_total   integer NOT NULL CHECK (goods_total >= 0),
    custom_fee    integer NOT NULL CHECK (custom_fee >= 0)
);

CREATE TABLE order_items (
    order_uid    text NOT NULL REFERENCES orders ON DELETE CASCADE,
    chrt_id      integer NOT NULL,
    track_number text NOT NULL,
    price        integer NOT NULL CHECK (price >= 0),
    rid          text NOT NULL,
    name         text NOT NULL,
    sale         integer NOT NULL CHECK (sale >= 0),
    size         text,
    total_price  integer NOT NULL CHECK (total_price >= 0),
    nm_id        integer NOT NULL,
    brand        text NOT NULL,
    status       integer NOT NULL,
    PRIMARY KEY (order_uid, rid)
);
CREATE INDEX ON order_items (order_uid);
CREATE INDEX ON order_items (nm_id);
