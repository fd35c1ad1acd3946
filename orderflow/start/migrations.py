"""The database migrations that belong to this version of the program. dbmate applies them and remembers which."""

from pathlib import Path

from orderflow.exits import CannotStart
from orderflow.start.project import shipped_directory

TABLE = "schema_migrations"
"""dbmate's own table: one row for each applied migration, in the text column `version`."""


def migrations_directory() -> Path:
    """Return the folder of the migrations: the installed package's, else the checkout's. Raises `CannotStart`."""
    folder = shipped_directory("migrations", "db/migrations")
    if any(folder.glob("*.sql")):
        return folder
    raise CannotStart("there are no migrations: run this in the project's folder (db/migrations)")


def latest_version() -> str:
    """Return the newest migration's version, as it stands in `schema_migrations`. Raises `CannotStart`."""
    return max(path.name.split("_", 1)[0] for path in migrations_directory().glob("*.sql"))
