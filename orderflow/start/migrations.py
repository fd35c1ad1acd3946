"""The database migrations of this version of the program. dbmate applies them, and records the applied ones."""

from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.start.project import shipped_directory

TABLE = "schema_migrations"
"""dbmate's own table: one row for each applied migration, in the text column `version`."""


def migrations_directory() -> Path:
    """Return the folder of the migrations, in the installed package or else in the checkout. Raises `CannotStart`."""
    folder = shipped_directory("migrations", "db/migrations")
    if any(folder.glob("*.sql")):
        return folder
    raise CannotStart("there are no migrations: run this in the project's folder (db/migrations)")


def versions_of_program() -> frozenset[str]:
    """Return the versions of all migrations, as stored in `schema_migrations`. Raises `CannotStart`."""
    return frozenset(path.name.split("_", 1)[0] for path in migrations_directory().glob("*.sql"))


def latest_version() -> str:
    """Return the newest migration's version. Raises `CannotStart`."""
    return max(versions_of_program())
