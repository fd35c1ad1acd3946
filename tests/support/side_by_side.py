"""Test processes that run side by side: which one this is, so that each takes ports and Redis databases of its own."""

import os


def share() -> tuple[int, int]:
    """Return the number of this test process, from 0 on, and how many there are."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
