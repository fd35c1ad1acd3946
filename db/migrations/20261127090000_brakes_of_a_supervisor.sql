-- migrate:up

-- Two supervisors on one machine, or on machines of one name, have workers of the same names.
ALTER TABLE brakes ADD COLUMN supervisor text NOT NULL DEFAULT '';

-- migrate:down

ALTER TABLE brakes DROP COLUMN supervisor;
