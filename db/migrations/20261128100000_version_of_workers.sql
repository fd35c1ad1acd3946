-- migrate:up

-- The version of the table layout that the worker's build uses. 0: written by a supervisor from before this column.
ALTER TABLE workers ADD COLUMN version integer NOT NULL DEFAULT 0;

-- migrate:down

ALTER TABLE workers DROP COLUMN version;
