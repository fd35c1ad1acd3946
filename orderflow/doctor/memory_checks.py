"""Check that PostgreSQL's memory and log are large enough for its tables. docs/scaling.md has the figures."""

from asyncpg import Connection

from orderflow.doctor.finding import Finding, ok, warned

MEMORY = "PostgreSQL memory"
FEW_CHECKPOINTS = 10
_BYTES_A_PAGE = 8192
_SETTING = "SELECT pg_size_bytes(current_setting($1))"
# Uids and item ids may be increasing, so their indexes do not count. The other keys are spread over the whole index.
_SEARCH_INDEXES = """
WITH tables AS (SELECT unnest('{orders,order_items}'::regclass[]) AS id),
     parts AS (SELECT id FROM tables UNION SELECT relid FROM tables, pg_partition_tree(id))
SELECT coalesce(sum(pg_relation_size(indexrelid)), 0)::bigint
FROM pg_index JOIN parts ON indrelid = parts.id WHERE NOT indisunique
"""
_LOG = "SELECT wal_fpi::bigint AS pages, wal_bytes::bigint AS bytes FROM pg_stat_wal"
_CHECKPOINTS = "SELECT checkpoints_timed AS timed, checkpoints_req AS early FROM pg_stat_bgwriter"
_OWN_VIEW_SINCE = 17
_CHECKPOINTS_17 = "SELECT num_timed AS timed, num_requested AS early FROM pg_stat_checkpointer"


async def check_memory(connection: Connection) -> Finding:
    """Find settings with which ingest slows down as the tables grow.

    An order touches a random page of each search index. A page that is not in `shared_buffers` is read, and another one
    is written to make room. The first change of a page after a checkpoint puts all of it into the log, and PostgreSQL
    starts a checkpoint early when it has written about half of `max_wal_size`.
    """
    buffers = await connection.fetchval(_SETTING, "shared_buffers")
    indexes = await connection.fetchval(_SEARCH_INDEXES)
    if indexes > buffers:
        problem = f"the search indexes ({_size(indexes)}) are larger than shared_buffers ({_size(buffers)})"
        change = f"ALTER SYSTEM SET shared_buffers = '{_size(2 * indexes)}'"
        fix = f"ingest slows down as they grow. If there is the memory, run in psql as a superuser: {change};"
        return warned(MEMORY, problem, f"{fix} and restart PostgreSQL")
    [log], [checkpoints] = await connection.fetch(_LOG), await connection.fetch(_checkpoints_of(connection))
    limit = await connection.fetchval(_SETTING, "max_wal_size")
    mostly_early = FEW_CHECKPOINTS <= checkpoints["early"] > checkpoints["timed"]
    # Early checkpoints also have other reasons, for example a backup. Then there is little log between them.
    mostly_by_size = log["bytes"] > (checkpoints["early"] + checkpoints["timed"]) * limit / 4
    mostly_pages = log["pages"] * _BYTES_A_PAGE > log["bytes"] / 2
    if mostly_early and mostly_by_size and mostly_pages:
        problem = (
            f"{checkpoints['early']} checkpoints came early ({checkpoints['timed']} by time), because of "
            f"max_wal_size ({_size(limit)}), and most of the write-ahead log are whole pages after a checkpoint"
        )
        change = f"ALTER SYSTEM SET max_wal_size = '{_size(max(4 * limit, 8 * indexes))}'; SELECT pg_reload_conf()"
        return warned(MEMORY, problem, f"if the disk has room, run in psql as a superuser: {change};")
    return ok(MEMORY, f"shared_buffers ({_size(buffers)}) can hold the search indexes ({_size(indexes)})")


def _checkpoints_of(connection: Connection) -> str:
    return _CHECKPOINTS_17 if connection.get_server_version().major >= _OWN_VIEW_SINCE else _CHECKPOINTS


def _size(count: int) -> str:
    """Return bytes in whole MB, rounded up, as PostgreSQL's settings are written."""
    return f"{-(-count // (1 << 20))}MB"
