"""Says what must be changed in a database whose tables, permissions or functions refuse a batch."""

import re
from collections.abc import Sequence
from math import lcm
from typing import Any

from asyncpg import Connection, PostgresError

from engine.postgres.errors import SetupNeeded, describe, describe_refusal, function_of, lacks_partition

LONGEST = 200
"""The maximum length of a quoted message of PostgreSQL."""
MAX_NAMED = 10
"""How many missing partitions are named at most."""
_PARTITIONED = """
SELECT format('%I', relation.relname) AS name, pg_get_partkeydef(relation.oid) AS key, ARRAY(
    SELECT pg_get_expr(child.relpartbound, child.oid)
    FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = relation.oid AND NOT pg_inherits.inhdetachpending
) AS bounds
FROM pg_partitioned_table AS partitioned JOIN pg_class AS relation ON relation.oid = partitioned.partrelid
     JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
WHERE relation.relname = ANY($1::text[]) AND pg_namespace.nspname = ANY(coalesce($2::text[], current_schemas(false)))
ORDER BY relation.relname
"""
_HASH = re.compile(r"modulus (\d+), remainder (\d+)", re.IGNORECASE)


async def explain_setup(connection: Connection, error: BaseException) -> str:
    """Return what in the database must be changed so that a batch can be written. No data of any row.

    A message of PostgreSQL is quoted only if it is about a statement of the engine or of the handler, which contains no
    data. A statement of a function in the database may contain some.
    """
    if not isinstance(error, PostgresError):
        return str(error) if isinstance(error, SetupNeeded) else describe(error)
    if lacks_partition(error):
        schemas = [error.schema_name] if error.schema_name else None
        tables = await connection.fetch(_PARTITIONED, [error.table_name], schemas)
        missing = [_lacks(table) for table in tables]
        return "; ".join(missing) or f"no partition of {error.table_name} takes a row"
    if function_of(error) or error.context or error.internal_query or not error.message:
        return describe_refusal(error)
    return error.message.splitlines()[0][:LONGEST]


async def missing_hash_partitions(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Return a line for each of the tables that is partitioned by hash and lacks partitions."""
    found = await connection.fetch(_PARTITIONED, list(tables), None)
    return [_lacks(table) for table in found if _is_hashed(table) and missing_remainders(_bounds(table))[1]]


def missing_remainders(bounds: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """Return a modulus, and its remainders without a partition. `bounds` has the modulus and remainder of each one."""
    modulus = lcm(*(modulus for modulus, _ in bounds))
    taken = {number for of, remainder in bounds for number in range(remainder, modulus, of)}
    return modulus, [number for number in range(modulus) if number not in taken]


def _is_hashed(table: Any) -> bool:
    return str(table["key"]).upper().startswith("HASH")


def _bounds(table: Any) -> list[tuple[int, int]]:
    return [(int(modulus), int(remainder)) for bound in table["bounds"] for modulus, remainder in _HASH.findall(bound)]


def _lacks(table: Any) -> str:
    name, key = table["name"], table["key"]
    if not _is_hashed(table):
        return f"{name} ({key}) has no partition for a row: create it, or a default partition"
    modulus, remainders = missing_remainders(_bounds(table))
    wanted = ", ".join(f"(MODULUS {modulus}, REMAINDER {remainder})" for remainder in remainders[:MAX_NAMED])
    more = f" and {len(remainders) - MAX_NAMED} more" if len(remainders) > MAX_NAMED else ""
    return f"{name} ({key}) lacks the partitions FOR VALUES WITH {wanted}{more}"
