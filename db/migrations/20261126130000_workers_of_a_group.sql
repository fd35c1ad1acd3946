-- migrate:up

-- The pipeline of the worker: several pipelines may share a database. Empty: written by an older supervisor.
ALTER TABLE workers
    ADD COLUMN consumer_group text NOT NULL DEFAULT '',
    ADD COLUMN topic          text NOT NULL DEFAULT '';

-- migrate:down

ALTER TABLE workers DROP COLUMN topic, DROP COLUMN consumer_group;
