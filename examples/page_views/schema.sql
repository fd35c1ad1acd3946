CREATE TABLE IF NOT EXISTS page_views (
    view_id     uuid PRIMARY KEY,
    page        text NOT NULL,
    visitor     text NOT NULL,
    viewed_at   timestamptz NOT NULL,
    duration_ms integer NOT NULL CHECK (duration_ms >= 0)
);
