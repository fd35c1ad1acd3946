-- migrate:up

-- Two supervisors on one machine, or on machines with the same name, have workers with the same names.
ALTER TABLE brakes ADD COLUMN supervisor text NOT NULL DEFAULT '';

-- migrate:down

ALTER TABLE brakes DROP COLUMN supervisor;
