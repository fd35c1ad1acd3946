"""A transaction that is one statement: the parts of a batch, each with its own arguments, joined into one WITH query.

PostgreSQL runs a statement outside BEGIN and COMMIT as a transaction of its own, so a batch waits for PostgreSQL once.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from asyncpg import Connection

from engine.handler import Statement

_PARAMETER = re.compile(r"\$(\d+)")


async def execute_joined(connection: Connection, parts: Sequence[Statement], result: str) -> None:
    """Run the parts as one statement, which ends with the query `result`. Raises asyncpg's errors.

    PostgreSQL runs parts that write to their end, in any order, even if nothing reads them.
    """
    sql = _joined(tuple((part.tables, len(part.arguments)) for part in parts), result)
    await connection.execute(sql, *(argument for part in parts for argument in part.arguments))


@lru_cache(maxsize=64)
def _joined(parts: tuple[tuple[str, int], ...], result: str) -> str:
    """Return the text of the statement. The arguments of a part follow those of the parts before it."""
    tables, before = [], 0
    for text, arguments in parts:
        tables.append(_PARAMETER.sub(lambda match, first=before: f"${int(match[1]) + first}", text))  # type: ignore[misc]
        before += arguments
    return f"WITH {', '.join(tables)} {result}"
