"""What every fault run is given."""

from collections.abc import AsyncIterator
from zlib import crc32

import pytest

from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open
from tests.chaos.fault_run import FaultRun
from tests.chaos.network import Network, proxied_network
from tests.chaos.plugin import RUN, SEED
from tests.support.programs import Programs, Running


@pytest.fixture
def fault_run(request: pytest.FixtureRequest, settings: Settings) -> FaultRun:
    """Provide the test's fault run, with a seed of its own that follows from the session's."""
    seed = crc32(f"{request.config.stash[SEED]} {request.node.name}".encode())
    run = FaultRun(settings, seed)
    request.node.stash[RUN] = run
    return run


@pytest.fixture
async def network(settings: Settings, services: ServiceSet) -> AsyncIterator[Network]:
    """Provide a network between orderflow and its services that a test may disturb."""
    async with proxied_network(settings, services) as proxies:
        yield proxies


@pytest.fixture
async def engine(orderflow: Programs) -> Running:
    """Provide an engine with two workers that has opened all partitions."""
    return await all_open(orderflow)


@pytest.fixture
async def server(orderflow: Programs) -> Running:
    """Provide an HTTP server that listens."""
    running = await orderflow.start("serve")
    await running.wait_for("http_listening")
    return running
