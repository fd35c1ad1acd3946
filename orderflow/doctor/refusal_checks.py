"""Checks of what PostgreSQL refuses to store, and of changes to the tables for which it refuses everything."""

from typing import Any

from asyncpg import Connection
from lookup.operations.waiting import waiting_batches
from lookup.operations.workers import fetch_workers

from engine.postgres.setup import missing_hash_partitions
from engine.verdict import REFUSED_BY_DATABASE
from orderflow.doctor.finding import Finding, failed, ok, warned
from orderflow.doctor.schema_checks import TABLES
from orderflow.start.settings import Settings
from orderflow.terminal import printable

NAMED = 5
COUNTED_MOST = 10_000
# A trigger before the insert may fill a column.
_DEMANDED = """
SELECT relation.relname, attribute.attname
FROM pg_class AS relation JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
     JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
     JOIN pg_type ON pg_type.oid = attribute.atttypid
WHERE pg_namespace.nspname = ANY(current_schemas(false)) AND relation.relkind IN ('r', 'p', 'f')
      AND relation.relname = ANY($1::text[]) AND attribute.attnum > 0 AND NOT attribute.attisdropped
      AND (attribute.attnotnull OR pg_type.typnotnull) AND NOT attribute.atthasdef AND attribute.attidentity = ''
      AND pg_type.typdefault IS NULL
      AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation.oid AND NOT tgisinternal AND tgtype & 7 = 7)
ORDER BY relation.relname, attribute.attnum
"""
_REFUSED = """
SELECT coalesce(errors -> 0 ->> 'message', 'unknown') AS error, count(*) AS letters FROM (
    SELECT errors FROM dead_letters
    WHERE consumer_group = $1 AND topic = $2 AND reason = $3 AND resolved_at IS NULL
          AND failed_at > clock_timestamp() - interval '1 hour'
    ORDER BY failed_at DESC LIMIT $4
) AS recent GROUP BY 1 ORDER BY 2 DESC, 1
"""


async def check_changes(connection: Connection) -> Finding:
    """Find columns that must be set and that orderflow does not write, and missing partitions of a hash."""
    columns = [
        f"{table}.{column}"
        for table, column in await connection.fetch(_DEMANDED, list(TABLES))
        if column not in TABLES[table]
    ]
    if columns:
        problem = f"orderflow does not write these NOT NULL columns without a default: {', '.join(columns)}"
        return failed("PostgreSQL changes", problem, "give each a default, or allow NULL")
    if missing := await missing_hash_partitions(connection, list(TABLES)):
        return failed("PostgreSQL changes", "; ".join(missing), "create them (the engine waits meanwhile)")
    return ok("PostgreSQL changes", "no column or partition refuses every order")


async def check_refusals(connection: Connection, settings: Settings) -> Finding:
    """Find batches that wait until the set-up is changed, and what PostgreSQL has refused in the last hour."""
    group, topic = settings.kafka_group_id, settings.kafka_topic
    waiting = waiting_batches(await fetch_workers(connection, group, topic))
    if waiting:
        problem = "; ".join(f"{_place(batch)} cannot be stored: {batch['setup']}" for batch in waiting)
        return failed("Refused messages", printable(problem), "change that; the engine then goes on by itself")
    rows = await connection.fetch(_REFUSED, group, topic, REFUSED_BY_DATABASE, COUNTED_MOST)
    if rows:
        named = "; ".join(f"{row['error']} ({row['letters']})" for row in rows[:NAMED])
        problem = f"PostgreSQL refused {sum(row['letters'] for row in rows)} messages in the last hour: {named}"
        fix = f"correct the table, then run `orderflow dlq replay --reason {REFUSED_BY_DATABASE}`"
        return warned("Refused messages", printable(problem), fix)
    return ok("Refused messages", "PostgreSQL refused none in the last hour")


def _place(batch: Any) -> str:
    """Return the topic, partitions and offsets of a batch."""
    return f"{batch['topic']} " + ", ".join(f"{at}:{first}-{last}" for at, (first, last) in batch["offsets"].items())
