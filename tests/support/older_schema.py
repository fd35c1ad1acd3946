"""A database as an older build left it."""

from collections.abc import Mapping
from pathlib import Path

from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services.service import silent
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import parse_settings


async def migrate_before(version: str, environment: Mapping[str, str], folder: Path) -> None:
    """Apply the migrations whose names are below `version`, by way of copies in `folder`."""
    for migration in migrations_directory().glob("*.sql"):
        if migration.name < version:
            (folder / migration.name).write_text(migration.read_text())
    await run_dbmate(await find_dbmate(silent), parse_settings(environment).postgres_url(), folder, "up")
