"""What every fault run is given."""

from zlib import crc32

import pytest

from orderflow.settings import Settings
from tests.chaos.fault_run import FaultRun
from tests.chaos.plugin import RUN, SEED


@pytest.fixture
def fault_run(request: pytest.FixtureRequest, settings: Settings) -> FaultRun:
    """Provide the test's fault run, with a seed of its own that follows from the session's."""
    seed = crc32(f"{request.config.stash[SEED]} {request.node.name}".encode())
    run = FaultRun(settings, seed)
    request.node.stash[RUN] = run
    return run
