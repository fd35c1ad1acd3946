"""What HTTP servers tell of the workers of all machines, each way that they tell it."""

from typing import Any

import attrs
from aiohttp import ClientSession, ClientTimeout
from prometheus_client.parser import text_string_to_metric_families


@attrs.frozen
class Told:
    """The living workers as `/operations`, `/healthz` and `/metrics` tell of them; `snapshot` is all of the first."""

    snapshot: dict[str, Any]
    health: dict[str, Any]
    series: list[dict[str, str]]

    @property
    def living(self) -> list[dict[str, Any]]:
        """The workers that `/operations` shows, save those that it shows as dead."""
        return [worker for worker in self.snapshot["workers"] or [] if worker["state"] != "dead"]

    def by_host(self) -> dict[str, int] | None:
        """Return how many workers live on each host; None when the three do not tell the same."""
        hosts = [[worker["host"] for worker in self.living], [labels["host"] for labels in self.series]]
        counts = [{host: some.count(host) for host in sorted(some)} for some in hosts]
        counts += [dict(sorted(part.get("hosts", {}).items())) for part in self._engine_parts()]
        alike = all(count == counts[0] for count in counts)
        return counts[0] if alike and len(self.living) == len(self.names()) == len(self._labels()) else None

    def _engine_parts(self) -> list[dict[str, Any]]:
        return [self.health["checks"]["engine"], self.snapshot["services"]["engine"]]

    def names(self) -> set[tuple[str, str, str]]:
        """Return what names each living worker: its host, its supervisor and its own name."""
        return {(worker["host"], worker["supervisor"], worker["worker"]) for worker in self.living}

    def _labels(self) -> set[tuple[str, ...]]:
        return {tuple(sorted(labels.items())) for labels in self.series}


async def told(url: str) -> Told:
    """Ask a server in each way."""
    async with ClientSession(url, timeout=ClientTimeout(total=10)) as client:
        async with client.get("/operations/snapshot") as answer:
            snapshot = await answer.json()
        async with client.get("/healthz") as answer:
            health = await answer.json()
        async with client.get("/metrics") as answer:
            text = await answer.text()
    series = [
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "orderflow_worker_messages_total"
    ]
    return Told(snapshot, health, series)
