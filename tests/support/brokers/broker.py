"""One Kafka broker of a test's own, which is stopped and started again on its data, and may move to another port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orderflow.services import free_ports
from orderflow.services.kafka import Kafka
from orderflow.start.project import cache_directory
from orderflow.start.settings import parse_settings
from tests.support.brokers.operator import Operator

HOST = "127.0.0.1"
HEAP_MB = 256


class Broker(Kafka):
    """Kafka with a bounded heap, and with `properties` of a test's own, which win over the service's."""

    def __init__(self, directory: Path, port: int, properties: Mapping[str, str] | None = None) -> None:
        super().__init__(directory, parse_settings({"KAFKA_BROKERS": f"{HOST}:{port}"}), cache_directory())
        self.properties = dict(properties or {})

    @property
    def bootstrap(self) -> str:
        """Its address, as `KAFKA_BROKERS` has it."""
        return f"{HOST}:{self.port}"

    @property
    def operator(self) -> Operator:
        """Asks and changes it, where it is now."""
        return Operator(self.bootstrap)

    def _configure(self, data: Path, controller_port: int) -> Path:
        file = super()._configure(data, controller_port)
        lines = "".join(f"{name}={value}\n" for name, value in self.properties.items())
        file.write_text(file.read_text() + lines)  # of two lines with one name Kafka takes the later
        return file

    def _java(self) -> list[str]:
        return [f"-Xmx{HEAP_MB}m" if word.startswith("-Xmx") else word for word in super()._java()]

    async def start(self, timeout_s: float = 120) -> bool:
        """Start it as any service, with more patience: a broker that was killed looks through its logs first."""
        return await super().start(timeout_s)

    async def restart(self) -> None:
        """Stop cleanly and start again, on `port` and with `properties` as they are by then."""
        await self.stop(60)
        await self.start()


@attrs.frozen
class MovableBroker:
    """A broker that has two ports: clients are given both, one of them answers."""

    broker: Broker
    ports: tuple[int, int]

    @property
    def bootstrap(self) -> str:
        """Both addresses, as `KAFKA_BROKERS` has them."""
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    async def move(self) -> None:
        """Stop the broker, and start it on its other port."""
        await self.broker.stop()
        here, there = self.ports
        self.broker.port = there if self.broker.port == here else here
        await self.broker.start()


@asynccontextmanager
async def own_broker(directory: Path, properties: Mapping[str, str] | None = None) -> AsyncIterator[Broker]:
    """Start a broker on a free port, with its data in `directory`, and stop it afterwards."""
    async with movable_broker(directory, properties) as movable:
        yield movable.broker


@asynccontextmanager
async def movable_broker(directory: Path, properties: Mapping[str, str] | None = None) -> AsyncIterator[MovableBroker]:
    """Start a broker on the first of two free ports, and stop it afterwards, wherever it is."""
    here, there = free_ports(2)
    broker = Broker(directory / "kafka", here, properties)
    try:
        await broker.start()
        yield MovableBroker(broker, (here, there))
    finally:
        await broker.kill()  # its data is nobody's any more
