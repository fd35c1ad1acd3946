"""The workers of all machines, as an HTTP server reports them in each of its three ways."""

from typing import Any

import attrs
from aiohttp import ClientSession, ClientTimeout
from prometheus_client.parser import text_string_to_metric_families


@attrs.frozen
class WorkerReports:
    """The live workers in `/operations/snapshot`, `/healthz` and `/metrics`. `snapshot` is the complete snapshot."""

    snapshot: dict[str, Any]
    health: dict[str, Any]
    series: list[dict[str, str]]

    @property
    def living(self) -> list[dict[str, Any]]:
        """The workers in the snapshot that are not dead."""
        return [worker for worker in self.snapshot["workers"] or [] if worker["state"] != "dead"]

    def by_host(self) -> dict[str, int] | None:
        """Return the number of live workers by host. None if the three reports differ."""
        hosts = [[worker["host"] for worker in self.living], [labels["host"] for labels in self.series]]
        counts = [{host: names.count(host) for host in sorted(names)} for names in hosts]
        counts += [dict(sorted(part.get("hosts", {}).items())) for part in self._engine_parts()]
        alike = all(count == counts[0] for count in counts)
        return counts[0] if alike and len(self.living) == len(self.names()) == len(self._labels()) else None

    def _engine_parts(self) -> list[dict[str, Any]]:
        return [self.health["checks"]["engine"], self.snapshot["services"]["engine"]]

    def names(self) -> set[tuple[str, str, str]]:
        """Return the identity of each live worker: host, supervisor and worker name."""
        return {(worker["host"], worker["supervisor"], worker["worker"]) for worker in self.living}

    def _labels(self) -> set[tuple[str, ...]]:
        return {tuple(sorted(labels.items())) for labels in self.series}


async def fetch_worker_reports(url: str) -> WorkerReports:
    """Fetch the three reports of a server."""
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
    return WorkerReports(snapshot, health, series)
