"""The batches that workers cannot write until something in the database is changed."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import json

from lookup.operations.workers import DEAD


def waiting_batches(workers: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return `topic`, `offsets` (first and last by partition) and `setup` (what to change) of each such batch.

    `workers` are rows of `fetch_workers`. Batches that wait for an outage to end are not among them.
    """
    reported = [json.decode(row["details"]).get("waiting_batch") for row in workers if row["state"] != DEAD]
    return [{name: batch[name] for name in ("topic", "offsets", "setup")} for batch in reported if _needs_setup(batch)]


def _needs_setup(batch: Mapping[str, Any] | None) -> bool:
    return batch is not None and "setup" in batch
