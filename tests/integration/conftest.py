"""What several tests of the whole engine are given."""

import pytest

from orderflow.publishing.orders import OrderGenerator
from tests.support.programs import Programs, Running


@pytest.fixture
async def engine(orderflow: Programs) -> Running:
    """Start an engine with one worker that has opened all partitions."""
    running = await orderflow.start("engine", "--workers", "1")
    await running.wait_for("partition_opened", count=4)
    return running


@pytest.fixture
def orders() -> OrderGenerator:
    """Make valid orders."""
    return OrderGenerator(seed=5)
