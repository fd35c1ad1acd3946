-- migrate:up

-- Several pipelines may share a database: whose worker a row tells of. Empty: a supervisor from before this column.
ALTER TABLE workers
    ADD COLUMN consumer_group text NOT NULL DEFAULT '',
    ADD COLUMN topic          text NOT NULL DEFAULT '';

-- migrate:down

ALTER TABLE workers DROP COLUMN topic, DROP COLUMN consumer_group;
