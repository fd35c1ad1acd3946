"""What docs/guide.md says of a copy of the example is true: another name, the changes it lists, another pipeline."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import attrs
import pytest

from orderflow.start.settings import Settings
from tests.support.eventually import consumed
from tests.support.isolation import delete_topics, unique
from tests.support.programs import Programs
from tests.support.topic import receive, send

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
HANDLER = '''"""Readings of thermometers."""

from asyncpg import Connection
from msgspec import Struct, ValidationError, json, structs

from engine.postgres.copying import copy_records
from engine.handler import Handler
from engine.records import Batch, Record, Written
from engine.verdict import FieldError, Rejected

from .names import TABLE


class Reading(Struct, frozen=True):
    sensor: str
    celsius: float


class ReadingHandler(Handler[Reading]):
    subject_name = "sensor"

    def handle_message(self, record: Record) -> Reading | Rejected:
        try:
            return json.decode(record.value or b"", type=Reading)
        except ValidationError as error:
            return Rejected("invalid_reading", (FieldError("", str(error)),))

    def subject(self, value: Reading) -> str:
        return value.sensor

    async def handle_batch(self, connection: Connection, batch: Batch[Reading]) -> Written:
        rows = [structs.astuple(reading) for _, reading in batch.accepted()]
        await copy_records(connection, TABLE, Reading.__struct_fields__, rows)
        return Written(inserted=len(rows))
'''
CHANGED_IN_PLACE = {"pipeline.py": ("PageViewHandler", "ReadingHandler")}
DELETED = {"publish.py", "top.py"}


@attrs.frozen
class Copy:
    """A copy of the example under another name, in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def name(self) -> str:
        """The module's name, and the table's."""
        return self.folder.name

    @property
    def topic(self) -> str:
        """What the guide says of the topic's name."""
        return self.name.replace("_", "-")

    async def migrate(self) -> tuple[int | None, str]:
        """Create the table. Returns the exit code and what was written on standard error."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{self.name}.migrate"),
            stderr=asyncio.subprocess.PIPE,
            env={**self.environment, "PYTHONPATH": str(self.folder.parent)},
        )
        _, errors = await process.communicate()
        return process.returncode, errors.decode()

    def change(self) -> None:
        """Change what the guide lists, and nothing else."""
        schema = f"CREATE TABLE {self.name} (sensor text NOT NULL, celsius float8 CONSTRAINT warm CHECK (celsius > 0))"
        written = {"handler.py": HANDLER, "schema.sql": schema}
        listed = re.findall(r"^\| \[.+?\]\(\.\./examples/page_views/(\S+?)\)", GUIDE, re.MULTILINE)
        assert sorted(listed) == sorted({*written, *CHANGED_IN_PLACE, *DELETED})
        for name, text in written.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        for name, (old, new) in CHANGED_IN_PLACE.items():
            path = self.folder / name
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        for name in DELETED:
            (self.folder / name).unlink()


@pytest.fixture
async def copy(environment: dict[str, str], settings: Settings, tmp_path: Path) -> AsyncIterator[Copy]:
    """Copy the example; the topics that follow from the copy's name are deleted afterwards."""
    copy = Copy(tmp_path / unique("readings"), environment)
    shutil.copytree(ROOT / "examples" / "page_views", copy.folder, ignore=shutil.ignore_patterns("__pycache__"))
    yield copy
    await delete_topics(settings, [copy.topic, f"{copy.topic}-dlq"])


async def test_a_copy_with_the_changes_of_the_guide_is_a_pipeline_of_its_own(
    copy: Copy, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A row in its own table, dead letters in its own topic, and nothing in the original's."""
    copy.change()
    names = {"KAFKA_TOPIC": copy.topic, "KAFKA_DLQ_TOPIC": f"{copy.topic}-dlq"}
    assert (await orderflow.run("topics", "create", **names)).returncode == 0
    assert await copy.migrate() == (0, "")
    own = attrs.evolve(settings, kafka_topic=copy.topic, kafka_dlq_topic=f"{copy.topic}-dlq")
    readings = (b'{"sensor": "roof", "celsius": 21.5}', b'{"sensor": "cellar"}', b'{"sensor": "moon", "celsius": -173}')
    await send(own, *((None, reading) for reading in readings), partition=0)

    pipeline = await orderflow.start(module=copy.name, PYTHONPATH=str(copy.folder.parent))
    await consumed(database, len(readings))
    assert [tuple(row) for row in await database.fetch(f"SELECT * FROM {copy.name}")] == [("roof", 21.5)]
    letters = await database.fetch("SELECT topic, consumer_group, reason, subject FROM dead_letters ORDER BY subject")
    assert [tuple(letter) for letter in letters] == [
        (copy.topic, f"{copy.topic}-writer", "refused_by_database", "moon"),
        (copy.topic, f"{copy.topic}-writer", "invalid_reading", None),
    ]
    assert {letter.value for letter in await receive(own, own.kafka_dlq_topic, 2)} == set(readings[1:])
    assert await pipeline.stop() == 0


async def test_a_table_that_is_not_called_as_the_pipeline_is_said(copy: Copy) -> None:
    """In one line; and so is a file that is not there."""
    code, told = await copy.migrate()
    assert (code, told.count("\n")) == (1, 1)
    assert told.endswith(f"schema.sql must create the table {copy.name}, as names.py calls it\n")
    (copy.folder / "schema.sql").unlink()
    code, told = await copy.migrate()
    assert (code, told.count("\n")) == (1, 1)
    assert "schema.sql cannot be read (No such file or directory)" in told
