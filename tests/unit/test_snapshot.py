"""A snapshot of the system tells one state, although its parts are read one after the other."""

from datetime import UTC, datetime
from typing import Any

import pytest
from lookup.operations.health import ENGINE, POSTGRESQL, Health, Unhealthy
from lookup.operations.owners import Owners
from lookup.operations.snapshot import Operations
from lookup.operations.store import StoredState
from msgspec import json

from engine.postgres.pauses import Pauses

NOW_S = 1_790_000_000.0


def row(worker: str, state: str) -> dict[str, Any]:
    return {
        "worker_id": worker,
        "worker": worker,
        "host": "host",
        "supervisor": "1",
        "pid": 7,
        "state": state,
        "partitions": [0],
        "restarts": 0,
        "started_at": datetime.fromtimestamp(NOW_S, UTC),
        "heartbeat_age_s": 0.1,
        "details": "{}",
    }


class Part:
    """A part of the system whose state is given: each call of it returns that state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    async def __call__(self) -> Any:
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    async def read(self, *_: Any) -> Any:
        return self.state


async def snapshot(checked: Any, workers: list[dict[str, Any]]) -> Any:
    health = Health({POSTGRESQL: Part({}), ENGINE: Part(checked)}, deadline_s=1)
    stored = StoredState(NOW_S, workers, {}, Pauses(), {})
    operations = Operations(health, Part(stored), Part([]), Part(Owners({})))  # type: ignore[arg-type]
    return json.decode(await operations.snapshot())


@pytest.mark.parametrize("failed", [False, True])
async def test_a_worker_that_died_since_the_check_is_counted_as_dead(failed: bool) -> None:
    """As the table of workers shows it in the same snapshot."""
    counted = {"workers": {"idle": 2}, "hosts": {"host": 2}}
    checked = Unhealthy("partitions are refused: see the fix of each", **counted) if failed else counted
    found = await snapshot(checked, [row("worker-0", "idle"), row("worker-1", "dead")])
    engine = found["services"]["engine"]
    assert (engine["workers"], engine["hosts"]) == ({"idle": 1, "dead": 1}, {"host": 1})
    assert [worker["state"] for worker in found["workers"]] == ["idle", "dead"]


async def test_without_a_report_of_workers_none_are_counted() -> None:
    """The check says why, and nothing is added to it."""
    found = await snapshot(Unhealthy("no worker runs"), [])
    assert found["services"]["engine"] == {"status": "unavailable", "error": "no worker runs"}
