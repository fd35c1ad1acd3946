-- migrate:up

-- Which agreements about these tables the build of a worker keeps to. 0: a supervisor from before this column.
ALTER TABLE workers ADD COLUMN version integer NOT NULL DEFAULT 0;

-- migrate:down

ALTER TABLE workers DROP COLUMN version;
