"""Checks of the tables: what was renamed or dropped by hand is missing, although the schema's version is current."""

from collections.abc import Mapping

from asyncpg import Connection

from handlers import fields
from orderflow.doctor.finding import Finding, failed, ok

_OF_ORDERS = {name: frozenset(column.name for column in columns) for name, columns in fields.TABLES.items()}
TABLES: Mapping[str, frozenset[str]] = _OF_ORDERS | {
    name: frozenset(columns.split())
    for name, columns in {
        "consumed_offsets": """
            consumer_group topic partition next_offset last_offset last_timestamp last_checksum epoch updated_at
            predates_source_topic write_id
        """,
        "batches": """
            batch_id consumer_group topic worker host sources consumed_at validated_at committed_at cached_at messages
            inserted changed unchanged rejected changed_keys ended_at worker_clock
        """,
        "dead_letters": """
            topic partition kafka_offset key payload headers reason errors subject produced_at failed_at batch_id
            consumer_group published_at publish_error resolved_at replay_count epoch replayed_at settled_count
            claimed_by claimed_until
        """,
        "workers": """
            worker_id worker host pid state partitions restarts started_at heartbeat_at details consumer_group topic
            version
        """,
        "brakes": """
            brake_id consumer_group topic worker host engaged_at until rejected messages seen_at supervisor
        """,
        "pauses": "consumer_group topic partition paused_at paused_by",
        "cache_servers": "only_row run_id replication_id recovered_at",
        "cache_pending": "id batch_id order_uids committed_at",
        "cached_batches": "batch_id cached_at",
    }.items()
}
"""The columns of each table that the migrations make and the program uses."""

# Not information_schema: that hides what the user has no permission for, which is another check's finding.
_FOUND = """
SELECT relation.relname, array_agg(attribute.attname::text), relation.relkind IN ('r', 'p')
FROM pg_class AS relation JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
     JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE pg_namespace.nspname = ANY(current_schemas(false)) AND pg_table_is_visible(relation.oid)
      AND relation.relkind IN ('r', 'p', 'v', 'm', 'f') AND attribute.attnum > 0 AND NOT attribute.attisdropped
GROUP BY relation.oid, relation.relname
"""


async def check_tables(connection: Connection) -> Finding:
    """Compare the database with `TABLES`, and name what is missing."""
    rows = await connection.fetch(_FOUND)
    found = {name: frozenset(columns) for name, columns, _ in rows}
    missing = [name for name in TABLES if name not in found]
    if missing:
        return _missing_tables(missing, found)
    if others := sorted(name for name, _, is_table in rows if name in TABLES and not is_table):
        fix = "rename or drop them, and rename the tables back: COPY, keys and locks need tables"
        return failed("PostgreSQL tables", f"not tables but views or foreign tables: {', '.join(others)}", fix)
    incomplete = {name: sorted(wanted - found[name]) for name, wanted in TABLES.items() if wanted - found[name]}
    if incomplete:
        details = "; ".join(f"{name} lacks {', '.join(columns)}" for name, columns in incomplete.items())
        fix = "rename or add the columns back, as the migrations define them, or restore a backup"
        return failed("PostgreSQL tables", f"changed by hand, {details}", fix)
    return ok("PostgreSQL tables", "complete")


def _missing_tables(missing: list[str], found: Mapping[str, frozenset[str]]) -> Finding:
    renamed = {name: _renamed(name, found) for name in missing}
    statements = " ".join(f'ALTER TABLE "{now}" RENAME TO {name};' for name, now in renamed.items() if now)
    lost = [name for name, now in renamed.items() if now is None]
    fixes = [f"run in psql: {statements}"] if statements else []
    fixes += [f"restore {', '.join(lost)} from a backup (or rename back what was renamed)"] if lost else []
    return failed("PostgreSQL tables", f"renamed or dropped by hand, missing: {', '.join(missing)}", "; ".join(fixes))


def _renamed(name: str, found: Mapping[str, frozenset[str]]) -> str | None:
    """Return the only other relation with the columns of the table `name`, which is that table under a new name."""
    alike = [other for other, columns in found.items() if other not in TABLES and columns == TABLES[name]]
    return alike[0] if len(alike) == 1 else None
