"""The partitions that workers refuse, in one form: workers of older builds report only a text."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import json

from lookup.operations.workers import DEAD

OUT_OF_RANGE, TOPIC_RECREATED = "out_of_range", "topic_recreated"
_RESET = "orderflow offsets reset"
_CREATED_ANEW = "created anew"


def read_refusals(details: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the refusals in a worker's details, by partition: `offset`, `reason`, `detail` and `fix`.

    `reason` is corrupt_batch, out_of_range, topic_recreated or no_leader; `offset` is None where it is not known.
    """
    return {partition: _in_one_form(refusal) for partition, refusal in details.get("refused", {}).items()}


def refusals_of(workers: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return the refusals of live workers, sorted by partition; `workers` are rows of `fetch_workers`."""
    refusals: dict[str, dict[str, Any]] = {}
    for row in workers:
        if row["state"] != DEAD:
            refusals |= read_refusals(json.decode(row["details"]))
    return dict(sorted(refusals.items(), key=lambda item: int(item[0])))


def _in_one_form(refusal: Any) -> dict[str, Any]:
    if isinstance(refusal, Mapping):
        return {name: refusal.get(name) for name in ("offset", "reason", "detail", "fix")}
    text = str(refusal)
    reason = TOPIC_RECREATED if _CREATED_ANEW in text else OUT_OF_RANGE
    return {"offset": None, "reason": reason, "detail": text, "fix": _RESET}
