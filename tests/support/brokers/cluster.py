"""Three Kafka brokers, each of them broker and controller. Two are enough to continue without one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orderflow.services import free_ports
from tests.support.brokers.broker import Broker
from tests.support.brokers.operator import Operator
from tests.support.hosts import THIS_MACHINE, Host

NODES = (1, 2, 3)


@attrs.frozen
class Cluster:
    """The brokers, by node id."""

    brokers: dict[int, Broker]

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, for `KAFKA_BROKERS`."""
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    @property
    def operator(self) -> Operator:
        """An operator client for the cluster."""
        return Operator(self.bootstrap)

    async def complete(self, timeout_s: float = 60) -> None:
        """Wait until all running brokers know each other."""
        running = {node for node, broker in self.brokers.items() if broker.pid is not None}
        await self.operator.until_brokers(running, timeout_s)


def _properties(node: int, listener: str, controllers: dict[int, str]) -> dict[str, str]:
    return {
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{each}@{address}" for each, address in controllers.items()),
        "listeners": f"PLAINTEXT://{listener},CONTROLLER://{controllers[node]}",
        "default.replication.factor": "3",
        "min.insync.replicas": "2",
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        "share.coordinator.state.topic.replication.factor": "1",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        # A broker that is back soon becomes the leader of its partitions again, while the other one is still running.
        "leader.imbalance.check.interval.seconds": "3",
        "leader.imbalance.per.broker.percentage": "0",
        "controlled.shutdown.retry.backoff.ms": "500",
    }


@asynccontextmanager
async def three_brokers(
    directory: Path, hosts: Sequence[Host] = (THIS_MACHINE,) * len(NODES)
) -> AsyncIterator[Cluster]:
    """Start three brokers, each on its host, and stop them afterwards. New topics have three replicas."""
    ports = free_ports(2 * len(NODES))
    listeners, addresses = ports[: len(NODES)], [host.address for host in hosts]
    controllers = {
        node: f"{address}:{port}" for node, address, port in zip(NODES, addresses, ports[len(NODES) :], strict=True)
    }
    brokers = {
        node: Broker(
            directory / str(node) / "kafka", port, _properties(node, f"{host.address}:{port}", controllers), on=host
        )
        for node, host, port in zip(NODES, hosts, listeners, strict=True)
    }
    cluster = Cluster(brokers)
    try:
        # Start all at once: a single broker has no quorum and does not answer.
        async with asyncio.TaskGroup() as starting:
            for broker in brokers.values():
                starting.create_task(broker.start())
        await cluster.complete()
        yield cluster
    finally:
        await asyncio.gather(*(broker.kill() for broker in brokers.values()))
