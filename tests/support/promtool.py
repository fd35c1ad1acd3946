"""Prometheus's own program for checking rules and expositions, and for playing recorded scrapes to rules."""

import asyncio
import re
from collections.abc import Iterable, Sequence

from tests.support.installed import require_program
from tests.support.observed_system import Scrape
from tests.support.queries import rules


async def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    """Run promtool, with `text` as its input. Returns its exit code and its output. Skips the test without it."""
    program = require_program("promtool", "Prometheus's promtool", "prometheus")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


def input_series(scrapes: Sequence[Scrape]) -> list[dict[str, str]]:
    """Return scrapes as promtool reads them: of each series that a rule asks for, its values in their order."""
    asked = set(re.findall(r"\borderflow_\w+", " ".join(rule["expr"] for rule in rules())))
    names = sorted({name for scrape in scrapes for name in scrape if name.split("{")[0] in asked})
    return [{"series": name, "values": " ".join(_values([scrape.get(name) for scrape in scrapes]))} for name in names]


def _values(values: Iterable[float | None]) -> Iterable[str]:
    """Yield each value. A series that is not in a scrape any more becomes stale, as in Prometheus."""
    known = False
    for value in values:
        yield f"{value:g}" if value is not None else "stale" if known else "_"
        known = value is not None
