"""The schema of a database: which migrations it has, and what keeps this program from using or changing it."""

from collections.abc import Iterable

import attrs
from asyncpg import Connection

from orderflow.start.migrations import TABLE, versions_of_program

ENCODING = "UTF8"
_TIMEOUT_S = 5.0
_SHOWN = 3
_COLUMNS = (["version character varying"], ["version text"])
"""The columns of dbmate's table. Other tools have a table of the same name."""

_DATABASE = """
SELECT current_database()::text AS name, current_user::text AS role, current_schema()::text AS home,
       current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
"""
# pg_class and not information_schema, which hides what the user has no permission for.
_TABLES = f"""
SELECT namespace.nspname::text AS schema, relation.relkind IN ('r', 'p') AS is_table,
       pg_table_is_visible(relation.oid) AS visible, relation.oid::regclass::text AS name,
       has_schema_privilege(namespace.oid, 'USAGE') AS usable,
       (SELECT array_agg(attname || ' ' || format_type(atttypid, NULL) ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped) AS columns,
       EXISTS (SELECT FROM pg_class AS other
               WHERE other.relname = 'consumed_offsets' AND other.relnamespace = relation.relnamespace) AS beside_ours
FROM pg_class AS relation JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE relation.relname = '{TABLE}' AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY namespace.nspname
"""


@attrs.frozen
class MigrationsTable:
    """A relation with the name of dbmate's table. `name` is quoted, with its schema where that is needed.

    `beside_ours`: the engine's tables are in the same schema.
    """

    schema: str
    name: str
    is_table: bool
    visible: bool
    usable: bool
    columns: list[str]
    beside_ours: bool


@attrs.frozen
class Schema:
    """What a database has for a role. `home` is the schema in which the role creates new tables, None without one.

    `applied` are the versions of the applied migrations, `place` the schema with their table. `elsewhere` is such a
    table that the role does not see. `foreign`: how the table in `home` is known to be another tool's.
    """

    database: str
    role: str
    home: str | None
    encoding: str
    standby: bool
    may_create: bool
    place: str | None
    applied: frozenset[str]
    elsewhere: MigrationsTable | None
    foreign: str | None

    @property
    def missing(self) -> list[str]:
        """The versions that this program has and the database does not have."""
        return sorted(versions_of_program() - self.applied)

    @property
    def unfit(self) -> str | None:
        """Why neither this program nor its migrations can use the database, with the fix; None if they can."""
        if self.encoding != ENCODING:
            return (
                f"the database {self.database!r} has the encoding {self.encoding}, which cannot store every order: "
                f"create one with `CREATE DATABASE name ENCODING '{ENCODING}' LOCALE 'C' TEMPLATE template0`, "
                "and set POSTGRES_DATABASE"
            )
        if self.foreign:
            schema = "orderflow" if self.home != "orderflow" else "orderflow_only"
            return (
                f"the table {TABLE} in schema {self.home!r} belongs to another migration tool ({self.foreign}): set "
                f"POSTGRES_DATABASE to another database, or run `CREATE SCHEMA {schema}; {self._set_path(schema)}`, "
                "and `orderflow migrate`"
            )
        return None

    @property
    def lacking(self) -> str | None:
        """What the database lacks for this program, with the fix; None if it has everything."""
        missing = self.missing
        if not missing:
            return None
        if self.elsewhere is not None:
            schema = quoted(self.elsewhere.schema)
            fix = self._set_path(schema)
            if not self.elsewhere.usable:
                fix = f"GRANT USAGE ON SCHEMA {schema} TO {quoted(self.role)}; {fix}"
            place = self.elsewhere.schema
            return f"the tables are in schema {place!r}, which {self.role!r} does not look into: run `{fix}`"
        if not self.applied:
            return "the database has no schema yet: run `orderflow migrate`"
        newest = max(self.applied)
        if newest < missing[0]:
            return (
                f"the database's schema is older ({newest}) than this program ({max(versions_of_program())}): "
                "run `orderflow migrate`"
            )
        return (
            f"the database's schema lacks the migration {_listed(missing)}, although it has later ones "
            f"(up to {newest}): run `orderflow migrate`"
        )

    @property
    def newer(self) -> str | None:
        """Which migrations this program does not know, with both versions; None if it knows all."""
        unknown = self.applied - versions_of_program()
        if not unknown:
            return None
        return (
            f"the database's schema ({max(self.applied)}) has migrations that this program "
            f"({max(versions_of_program())}) does not know: {_listed(sorted(unknown))}"
        )

    @property
    def unmigratable(self) -> str | None:
        """Why this role cannot apply migrations, with the fix; None if it probably can."""
        if self.home is None:
            return (
                f"the search_path of {self.role!r} names no schema that exists and that it may use: "
                "create the schema, or grant USAGE on it"
            )
        if self.place is not None and self.place != self.home:
            return (
                f"the tables are in schema {self.place!r}, but new ones would come into {self.home!r}: "
                f"run `{self._set_path(quoted(self.place))}`"
            )
        if not self.may_create:
            problem = f"migrations are missing ({_listed(self.missing)}), and {self.role!r} may not create tables"
            fix = "run `orderflow migrate` as the owner of the tables"
            if self.place is None:
                grant = f"GRANT CREATE ON SCHEMA {quoted(self.home)} TO {quoted(self.role)}"
                fix = f"run `{grant}` in psql as the schema's owner"
            return f"{problem}: {fix}"
        return None

    def _set_path(self, schema: str) -> str:
        return f"ALTER ROLE {quoted(self.role)} IN DATABASE {quoted(self.database)} SET search_path = {schema}"


async def read_schema(connection: Connection) -> Schema:
    """Read what the database has. Raises what asyncpg raises."""
    row = await connection.fetchrow(_DATABASE, timeout=_TIMEOUT_S)
    tables = [MigrationsTable(**table) for table in await connection.fetch(_TABLES, timeout=_TIMEOUT_S)]
    assert row is not None
    found = {**row}
    database, home = found.pop("name"), found["home"]
    applied: frozenset[str] = frozenset()
    place = foreign = elsewhere = None
    # Only one table is visible. dbmate looks only into the first schema of the search_path, the engine into all.
    for table in (table for table in tables if table.visible):
        other_tool, versions = await _read_versions(connection, table)
        if other_tool is None:
            place, applied = table.schema, versions
        elif table.schema == home:
            foreign = other_tool
    if place is None and foreign is None:
        elsewhere = next((table for table in tables if table.beside_ours and not table.visible), None)
    return Schema(**found, database=database, place=place, applied=applied, elsewhere=elsewhere, foreign=foreign)


async def _read_versions(connection: Connection, table: MigrationsTable) -> tuple[str | None, frozenset[str]]:
    """Return how a table is known to be another tool's (None: it is ours), and the versions in it."""
    if not table.is_table:
        return "it is no table", frozenset()
    if table.columns not in _COLUMNS:
        return f"its columns are {', '.join(table.columns)}", frozenset()
    rows = await connection.fetch(f"SELECT version FROM {table.name}", timeout=_TIMEOUT_S)
    versions = frozenset(row[0] for row in rows)
    if versions and versions.isdisjoint(versions_of_program()):
        return f"none of its versions, such as {max(versions)[:40]!r}, is of this program", versions
    return None, versions


def quoted(name: str) -> str:
    """Return an identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _listed(versions: Iterable[str]) -> str:
    names = list(versions)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
