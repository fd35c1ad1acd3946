"""The commands of docs/guide.md, run as they stand there: from a clone to a second pipeline that works."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from msgspec import json

from orderflow.start.settings import Settings
from tests.support.eventually import consumed
from tests.support.isolation import connect, delete_topics, unique
from tests.support.programs import Programs

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
SETUP, RUN, LOOK, TEST = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
# What a test must not do for real: install, start services of the user's, and run itself.
ONLY_TRIED = {
    "make setup": f"make --directory {ROOT} --dry-run setup >/dev/null",
    "orderflow services up": "orderflow services up --help >/dev/null",
    "pytest tests/": f"pytest --collect-only {ROOT}/tests/",
}


@attrs.frozen
class Terminal:
    """A shell with the environment of a test, in an empty folder, that runs blocks of the guide."""

    environment: dict[str, str]
    folder: Path
    topic: str

    async def run(self, block: str) -> str:
        """Run the commands and return their standard output. Fails the test with the first that fails."""
        script = block.replace(".venv/bin/", f"{Path(sys.executable).parent}/").replace("=page-views", f"={self.topic}")
        for shown, tried in ONLY_TRIED.items():
            script = script.replace(shown, tried)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env={**os.environ, **self.environment, "PAGE_VIEWS_TOPIC": self.topic, "PYTHONPATH": str(ROOT)},
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()


@pytest.fixture
async def terminal(environment: dict[str, str], settings: Settings, tmp_path: Path) -> AsyncIterator[Terminal]:
    """Provide a terminal; the topics that the guide creates are deleted afterwards."""
    topic = unique("page-views")
    yield Terminal(environment, tmp_path, topic)
    await delete_topics(settings, [topic, f"{topic}-dlq"])


async def test_the_commands_of_the_guide_lead_to_a_second_pipeline(
    terminal: Terminal, orderflow: Programs, settings: Settings
) -> None:
    """45 views are stored, 5 are dead letters with all their reasons, as the guide says."""
    assert f"Published 50 messages to {terminal.topic}, 5 of them broken" in await terminal.run(SETUP)

    assert RUN.split("#")[0].split() == [".venv/bin/python", "-m", "examples.page_views"]
    pipeline = await orderflow.start(
        module="examples.page_views", PAGE_VIEWS_TOPIC=terminal.topic, PYTHONPATH=str(ROOT)
    )
    database = await connect(terminal.environment)
    await consumed(database, 50)
    await database.close()

    output = await terminal.run(LOOK)
    assert sum(int(views) for views in re.findall(r"^ +(\d+)  /", output, re.MULTILINE)) == 45
    assert "      45  views" in output.splitlines()
    [letters] = [json.decode(line) for line in output.splitlines() if line.startswith("[")]
    assert [letter["reason"] for letter in letters] == ["invalid_page_view"] * 5
    assert "no worker pauses" in output
    assert await pipeline.stop() == 0


async def test_the_way_to_the_tests_leads_to_tests(terminal: Terminal) -> None:
    """The file that the guide names is there, and can be collected."""
    assert "test_views_are_stored_once" in await terminal.run(TEST)
