"""The number of this process among parallel test processes, so that each can use its own ports and Redis databases."""

import os


def share() -> tuple[int, int]:
    """Return the number of this test process (from 0), and the number of test processes."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
