"""Generates a load of lookups on a server: with wrk if it is installed and usable, else with our own client."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.programs import helper, program
from bench.testbed import Testbed

CONNECTIONS = 32
_TIMEOUT_S = 300.0
_SCRIPT = Path(__file__).with_name("lookups.lua")


class WrongAnswers(Exception):
    """A server's answer was not the requested order."""


@attrs.frozen
class Load:
    """The results of a load. Latencies are in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    wrong: int
    busy: float = 0.0
    """The share of one core that our own client used: near 1, it limits the rate. 0 for wrk, which does not tell."""

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


async def ask_once(testbed: Testbed, port: int, uids: Sequence[str], *, status: int = 200) -> Load:
    """Request each uid once, with our own client, because wrk cannot do this. Raises `WrongAnswers`.

    `status` is the expected HTTP status.
    """
    return await _own_client(testbed, port, uids, 0.0, status)


async def ask_for(testbed: Testbed, port: int, uids: Sequence[str], seconds: float) -> Load:
    """Request the uids repeatedly for so many seconds. Raises `WrongAnswers`."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return await _own_client(testbed, port, uids, seconds, 200)
    file = _file(testbed, uids)
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT)]
    environment = {**testbed.environment, "BENCH_UIDS": str(file)}
    return await _run(testbed, [*command, f"http://127.0.0.1:{port}"], environment)


def generator() -> str:
    """Return the name of the program that requests cached orders."""
    return "wrk" if shutil.which("wrk") else "own client"


async def _own_client(testbed: Testbed, port: int, uids: Sequence[str], seconds: float, status: int) -> Load:
    places = (str(port), str(CONNECTIONS), str(seconds), str(status), str(_file(testbed, uids)))
    command = helper("load_client", *places)
    return await _run(testbed, command, testbed.environment)


async def _run(testbed: Testbed, command: Sequence[str], environment: dict[str, str]) -> Load:
    async with program("load", command, environment, testbed.folder) as client:
        await client.wait(_TIMEOUT_S)
        load = Load(**json.loads(client.log.read_text().splitlines()[-1]))
    if load.wrong:
        raise WrongAnswers(f"{load.wrong:,} of {load.requests:,} answers were wrong")
    return load


def _file(testbed: Testbed, uids: Sequence[str]) -> Path:
    file = testbed.folder / "uids"
    file.write_text("\n".join(uids) + "\n", encoding="utf-8")
    return file
