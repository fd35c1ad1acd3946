"""What workers say of partitions that they refuse, in one form: those of builds before told a text alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import json

from lookup.operations.workers import DEAD

OUT_OF_RANGE, TOPIC_RECREATED = "out_of_range", "topic_recreated"
_RESET = "orderflow offsets reset"
_CREATED_ANEW = "created anew"


def read_refusals(details: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a worker's details say, by partition: `offset`, `reason`, `detail` and `fix`.

    `reason` is corrupt_batch, out_of_range, topic_recreated or no_leader; `offset` is None where it is not known.
    """
    return {partition: _in_one_form(told) for partition, told in details.get("refused", {}).items()}


def refusals_of(workers: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return what living workers refuse, by partition in their order; `workers` are rows of `fetch_workers`."""
    found: dict[str, dict[str, Any]] = {}
    for row in workers:
        if row["state"] != DEAD:
            found |= read_refusals(json.decode(row["details"]))
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _in_one_form(told: Any) -> dict[str, Any]:
    if isinstance(told, Mapping):
        return {name: told.get(name) for name in ("offset", "reason", "detail", "fix")}
    text = str(told)
    reason = TOPIC_RECREATED if _CREATED_ANEW in text else OUT_OF_RANGE
    return {"offset": None, "reason": reason, "detail": text, "fix": _RESET}
