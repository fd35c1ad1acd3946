"""A separate Kafka broker for a test. It can be restarted with its data, also on another port."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orderflow.services import free_ports
from orderflow.services.kafka import Kafka
from orderflow.start.project import cache_directory
from orderflow.start.settings import parse_settings
from tests.support.brokers.operator import Operator
from tests.support.hosts import THIS_MACHINE, Host

HOST = "127.0.0.1"
HEAP_MB = 256


class Broker(Kafka):
    """Kafka with a limited heap, on a host. `properties` of the test override those of the service."""

    def __init__(
        self, directory: Path, port: int, properties: Mapping[str, str] | None = None, on: Host = THIS_MACHINE
    ) -> None:
        super().__init__(directory, parse_settings({"KAFKA_BROKERS": f"{on.address}:{port}"}), cache_directory())
        self.properties = dict(properties or {})
        self.host, self._within = on.address, on.within

    @property
    def bootstrap(self) -> str:
        """Its address, for `KAFKA_BROKERS`."""
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        """Return the broker's command line."""
        return [*self._within, *super().command()]

    @property
    def operator(self) -> Operator:
        """An operator client for the broker at its current address."""
        return Operator(self.bootstrap)

    def _configure(self, data: Path, controller_port: int) -> Path:
        file = super()._configure(data, controller_port)
        lines = "".join(f"{name}={value}\n" for name, value in self.properties.items())
        file.write_text(file.read_text() + lines)  # if a name occurs twice, Kafka uses the later line
        return file

    def _java(self) -> list[str]:
        return [f"-Xmx{HEAP_MB}m" if word.startswith("-Xmx") else word for word in super()._java()]

    async def start(self, timeout_s: float = 120) -> bool:
        """Start the broker. The timeout is longer than usual, because a killed broker first recovers its logs."""
        return await super().start(timeout_s)

    async def restart(self) -> None:
        """Stop cleanly and start again, with the current `port` and `properties`."""
        await self.stop(60)
        await self.start()


@attrs.frozen
class MovableBroker:
    """A broker with two ports. Clients know both. The broker listens on one of them."""

    broker: Broker
    ports: tuple[int, int]

    @property
    def bootstrap(self) -> str:
        """Both addresses, for `KAFKA_BROKERS`."""
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
    """Start a broker on the first of two free ports, and stop it afterwards."""
    here, there = free_ports(2)
    broker = Broker(directory / "kafka", here, properties)
    try:
        await broker.start()
        yield MovableBroker(broker, (here, there))
    finally:
        await broker.kill()  # its data is not needed any more
