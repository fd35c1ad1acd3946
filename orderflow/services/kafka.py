"""Apache Kafka in KRaft mode: one node that is broker and controller."""

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from orderflow.services.kafka_distribution import VERSION, class_path, java
from orderflow.services.ports import free_ports
from orderflow.services.process import bare_environment
from orderflow.services.service import Say, Service, fresh, run_tool, silent
from orderflow.start.settings import Settings

_CLUSTER_ID = "b3JkZXJmbG93LWxvY2FsMQ"
_CONFIGURATION = """\
# Written at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners={listeners}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXY:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
log.retention.ms=-1
offsets.retention.minutes=1000000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""
# Only the first compiler tier and the serial collector: it starts a second faster, and is fast enough for one user.
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError")


@attrs.frozen
class ProxyListener:
    """A second listener on `port`, for tests with a proxy. The broker tells its clients to connect to `advertised`.

    Without it a proxy in front of Kafka sees only a client's first connection: clients open the other connections to
    the address that the broker advertises.
    """

    port: int
    advertised: int


class Kafka(Service):
    """One Kafka node. It creates no topics automatically, and never deletes old records."""

    title = f"Apache Kafka {VERSION}"
    variable = "KAFKA_BROKERS"
    stop_signal = signal.SIGTERM
    # Java decodes paths by the locale: with LC_ALL=C it fails in a folder with a name like Заказы.
    environment: ClassVar[Mapping[str, str]] = {"LC_ALL": "C.UTF-8"}

    def __init__(
        self, directory: Path, settings: Settings, cache: Path, say: Say = silent, version: str = VERSION
    ) -> None:
        super().__init__(directory, settings.kafka_brokers[0].port, say)
        self._cache = cache
        self._version = version
        self._class_path = ""
        self.proxy_listener: ProxyListener | None = None

    @property
    def data(self) -> Path:
        """The folder of the topics' logs and of the cluster's metadata."""
        return self.directory / "data"

    async def prepare(self) -> None:
        """Find or download Kafka, format the data at the first start, write the configuration at every start."""
        self._class_path = await class_path(self._cache, self.say, self._version)
        (self.directory / "tmp").mkdir(exist_ok=True)
        controller_port = free_ports(1)[0]
        if not self.data.exists():
            unfinished = fresh(self.directory / "data.new")
            configuration = self._configure(unfinished, controller_port)
            tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(configuration)]
            environment = bare_environment(**self.environment)
            await run_tool("formatting Kafka's data", [*self._java(), *tool], environment=environment)
            unfinished.rename(self.data)
        self._configure(self.data, controller_port)

    def _configure(self, data: Path, controller_port: int) -> Path:
        configuration = self.directory / "server.properties"
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": controller_port}
        advertised = {"PLAINTEXT": self.port}
        if self.proxy_listener is not None:
            listeners["PROXY"] = self.proxy_listener.port
            advertised["PROXY"] = self.proxy_listener.advertised
        text = _CONFIGURATION.format(
            host=self.host,
            controller_port=controller_port,
            listeners=_listeners(self.host, listeners),
            advertised=_listeners(self.host, advertised),
            data=_property(data),
        )
        configuration.write_text(text)
        return configuration

    def _java(self) -> list[str]:
        return [
            str(java()),
            "-Xmx512m",
            *_JVM,
            "--sun-misc-unsafe-memory-access=allow",
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            "-cp",
            self._class_path,
        ]

    def command(self) -> list[str]:
        """Return the broker's command line."""
        return [*self._java(), "kafka.Kafka", str(self.directory / "server.properties")]

    async def answers(self) -> bool:
        """Return whether the broker answers a metadata request and lists a live broker."""
        client = AIOKafkaClient(bootstrap_servers=f"{self.host}:{self.port}", request_timeout_ms=5_000)
        # While the broker starts, aiokafka would log each refused connection as an error.
        logger = logging.getLogger("aiokafka")
        before, logger.disabled = logger.disabled, True
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except (KafkaError, OSError):
            return False
        finally:
            await client.close()
            logger.disabled = before


def _property(path: Path) -> str:
    """Return a path as written in a Java properties file: not in UTF-8, and with escaped backslashes."""
    units = memoryview(str(path).replace("\\", "\\\\").encode("utf-16-le", "surrogatepass")).cast("H")
    return "".join(chr(unit) if unit < 0x80 else f"\\u{unit:04x}" for unit in units)  # noqa: PLR2004


def _listeners(host: str, ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{host}:{port}" for name, port in ports.items())
