"""Check that what PostgreSQL has committed survives a crash."""

from asyncpg import Connection

from orderflow.doctor.finding import Finding, ok, warned
from orderflow.doctor.setting_sources import change_of_setting

DURABILITY = "PostgreSQL durability"
_RISKS = {
    "fsync": "a crash of its machine may destroy the database",
    "full_page_writes": "a crash of its machine may destroy the database",
    "synchronous_commit": "a crash of PostgreSQL may undo the last commits, after they were logged and cached",
}
_OFF = "SELECT name, source FROM pg_settings WHERE name = ANY($1::text[]) AND setting = 'off' ORDER BY name"


async def check_durability(connection: Connection) -> Finding:
    """Find settings that make a commit less safe. The owner may want them, because they make PostgreSQL faster."""
    rows = await connection.fetch(_OFF, list(_RISKS))
    if not rows:
        return ok(DURABILITY, "a commit survives a crash")
    problems = "; ".join(f"{row['name']} is off (set by: {row['source']}), so {_RISKS[row['name']]}" for row in rows)
    changes = [await change_of_setting(connection, row["name"], row["source"], "on") for row in rows]
    return warned(DURABILITY, problems, f"unless that is intended, run in psql as a superuser: {'; '.join(changes)}")
