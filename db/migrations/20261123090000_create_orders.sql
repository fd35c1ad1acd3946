-- migrate:up

-- Keys are compared byte by byte (COLLATE "C"): they are never sorted by the rules of a language.
CREATE TABLE orders (
    order_uid             text COLLATE "C" NOT NULL,
    track_number          text COLLATE "C" NOT NULL,
    entry                 text NOT NULL,
    locale                text NOT NULL,
    internal_signature    text NOT NULL,
    customer_id           text COLLATE "C" NOT NULL,
    delivery_service      text NOT NULL,
    shardkey              text NOT NULL,
    sm_id                 integer NOT NULL,
    date_created          timestamptz NOT NULL,
    oof_shard             text NOT NULL,
    delivery_name         text NOT NULL,
    delivery_phone        text NOT NULL,
    delivery_zip          text NOT NULL,
    delivery_city         text NOT NULL,
    delivery_address      text NOT NULL,
    delivery_region       text NOT NULL,
    delivery_email        text NOT NULL,
    payment_transaction   text NOT NULL,
    payment_request_id    text NOT NULL,
    payment_currency      text NOT NULL,
    payment_provider      text NOT NULL,
    payment_amount        integer NOT NULL CHECK (payment_amount >= 0),
    payment_dt            bigint NOT NULL CHECK (payment_dt > 0),
    payment_bank          text NOT NULL,
    payment_delivery_cost integer NOT NULL CHECK (payment_delivery_cost >= 0),
    payment_goods_total   integer NOT NULL CHECK (payment_goods_total >= 0),
    payment_custom_fee    integer NOT NULL CHECK (payment_custom_fee >= 0),
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    -- The message of the stored version. These columns decide whether another message replaces it.
    source_partition      integer NOT NULL DEFAULT 0,
    source_offset         bigint NOT NULL DEFAULT 0,
    source_epoch          integer NOT NULL DEFAULT 0,
    produced_at           timestamptz NOT NULL DEFAULT now(),
    content_digest        bytea NOT NULL DEFAULT '',
    batch_id              uuid,
    CONSTRAINT orders_pkey PRIMARY KEY (order_uid),
    CONSTRAINT orders_payment_adds_up CHECK (
        payment_amount::bigint = payment_goods_total::bigint + payment_delivery_cost::bigint + payment_custom_fee::bigint
    )
);
CREATE INDEX orders_date_created_idx ON orders (date_created);
CREATE INDEX orders_customer_id_idx ON orders (customer_id);

-- The primary key starts with order_uid, so the foreign key needs no separate index.
CREATE TABLE order_items (
    order_uid    text COLLATE "C" NOT NULL REFERENCES orders (order_uid) ON DELETE CASCADE,
    position     integer NOT NULL,
    rid          text COLLATE "C" NOT NULL,
    chrt_id      bigint NOT NULL CHECK (chrt_id > 0),
    track_number text NOT NULL,
    price        integer NOT NULL CHECK (price >= 0),
    name         text NOT NULL,
    sale         integer NOT NULL CHECK (sale >= 0),
    size         text NOT NULL,
    total_price  integer NOT NULL CHECK (total_price >= 0),
    nm_id        bigint NOT NULL CHECK (nm_id > 0),
    brand        text NOT NULL,
    status       integer NOT NULL CHECK (status >= 0),
    CONSTRAINT order_items_pkey PRIMARY KEY (order_uid, rid)
);
CREATE INDEX order_items_nm_id_idx ON order_items (nm_id);

CREATE VIEW deliveries AS
SELECT order_uid, delivery_name AS name, delivery_phone AS phone, delivery_zip AS zip, delivery_city AS city,
       delivery_address AS address, delivery_region AS region, delivery_email AS email
FROM orders;

CREATE VIEW payments AS
SELECT order_uid, payment_transaction AS transaction, payment_request_id AS request_id, payment_currency AS currency,
       payment_provider AS provider, payment_amount AS amount, payment_dt, payment_bank AS bank,
       payment_delivery_cost AS delivery_cost, payment_goods_total AS goods_total, payment_custom_fee AS custom_fee
FROM orders;

-- migrate:down

DROP VIEW payments;
DROP VIEW deliveries;
DROP TABLE order_items;
DROP TABLE orders;
