"""Where a setting of PostgreSQL comes from, and the statement that changes it there."""

from asyncpg import Connection

_SCOPES = {
    "database": "SELECT format('DATABASE %I', current_database())",
    "user": "SELECT format('ROLE %I', current_user)",
    "database user": "SELECT format('ROLE %I IN DATABASE %I', current_user, current_database())",
}
"""The target of `ALTER`, by the source of the setting. ALTER SYSTEM overrides all other sources."""


async def change_of_setting(connection: Connection, name: str, source: str, value: str) -> str:
    """Return the statements that give a setting the value. `source` is that of `pg_settings`."""
    if source not in _SCOPES:
        return f"ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf()"
    scope = await connection.fetchval(_SCOPES[source])
    return f"ALTER {scope} RESET {name}"
