"""Connections to the Kafka brokers, and the metadata of a topic: its partitions and their leaders.

aiokafka's own client uses the bootstrap list only once, hides the cause of a failed connection, and has one timeout for
all requests. Here each request has its own timeout, errors keep their causes, and the bootstrap list is used again
whenever no known broker answers: so a cluster that has moved to other addresses is found.
"""

import asyncio
import random
import ssl
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    StaleMetadata,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from engine.kafka.tls_errors import find_tls_error

CLIENT_ID = "orderflow"
"""The name by which brokers know a client that has no other."""
CONNECT_S = 5.0
ANSWER_S = 5.0
_IDLE_MS = 9 * 60 * 1000  # below the ten minutes after which a broker closes an idle connection
_CONNECTION_OPTIONS = frozenset(
    {
        "security_protocol",
        "ssl_context",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_kerberos_service_name",
        "sasl_kerberos_domain_name",
        "sasl_oauth_token_provider",
    }
)

TROUBLE = (KafkaError, OSError)
"""The errors that a request may raise: Kafka's errors, and those of the network (a timeout is an `OSError`)."""
REFUSED_LOGIN = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)
"""The errors that a connection may raise when the brokers refuse the login."""


def describe_kafka(error: BaseException) -> str:
    """Return a short description of an error. It is based on the cause, for example a certificate that was refused."""
    tls_error = find_tls_error(error)
    if isinstance(tls_error, ssl.SSLCertVerificationError):
        return f"certificate: {tls_error.verify_message}"
    if tls_error is not None:
        return f"TLS: {tls_error.reason or type(tls_error).__name__}"
    return "no answer" if isinstance(error, TimeoutError) else type(error).__name__


class Brokers:
    """The brokers of a cluster, for one topic or for none. `options` are keyword arguments of aiokafka's clients.

    There is one connection for each broker and purpose: a broker answers the requests of one connection in order, and a
    request that waits (a fetch, a join) must not delay others. `refresh` reads the metadata of `topics`. `stale` means
    that the metadata may be out of date. `last_answer_s` is when a broker last answered, on the event loop's clock.
    """

    def __init__(self, options: Mapping[str, Any], topic: str | None = None) -> None:
        self._hosts = options.get("bootstrap_servers", "localhost")
        self._options = {name: value for name, value in options.items() if name in _CONNECTION_OPTIONS}
        self._client_id = options.get("client_id", CLIENT_ID)
        self._topic = topic
        self._cluster = ClusterMetadata()
        self._connections: dict[tuple[Any, str], AIOKafkaConnection] = {}
        self._connecting: defaultdict[tuple[Any, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.topics = set() if topic is None else {topic}
        self.stale = False
        self.last_answer_s = 0.0
        self.last_error: BaseException | None = None

    def nodes(self) -> list[int]:
        """Return the ids of the known brokers, sorted."""
        return sorted(broker.nodeId for broker in self._cluster.brokers())

    def partitions(self, topic: str | None = None) -> list[int]:
        """Return the known partitions of a topic (by default of the topic of this object), sorted."""
        return sorted(self._cluster.partitions_for_topic(topic or self._topic) or ())

    def leader(self, partition: int) -> int | None:
        """Return the id of the broker that leads a partition. None if it has no leader, or the leader is not known."""
        node = self._cluster.leader_for_partition(TopicPartition(self._topic, partition))
        return None if node is None or node == -1 else node

    def by_leader(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Group partitions by the id of their leader. Partitions without a leader are left out."""
        led: defaultdict[int, list[int]] = defaultdict(list)
        for partition in partitions:
            if (leader := self.leader(partition)) is not None:
                led[leader].append(partition)
        return dict(led)

    async def refresh(self) -> None:
        """Fetch the metadata: the brokers, and the leaders of the partitions of `topics`. Never creates a topic.

        Connected brokers are asked first, then the other known brokers, then the bootstrap list. If none answers, the
        error of the last one is raised. Raises `UnknownTopicOrPartitionError` if the topic does not exist.
        """
        request = MetadataRequest(sorted(self.topics), allow_auto_topic_creation=False)
        try:
            answer = await self.ask_any(request)
        except TROUBLE:
            answer = await self._ask_bootstrap(request)
        if not answer.brokers:
            raise self._failed(KafkaConnectionError("the metadata contains no broker"))
        self._cluster.update_metadata(answer)
        self.stale = False
        for code, name, *_ in answer.topics:
            if name == self._topic and code:
                raise self._failed(for_code(code)(name))
        if self._topic is not None and not self.partitions():
            raise self._failed(UnknownTopicOrPartitionError(self._topic))

    def _known_nodes(self) -> Iterable[int]:
        known = self.nodes()
        connected = {node for (node, _), connection in self._connections.items() if connection.connected()}
        # In random order: a broker that is cut off from the others would always return outdated leaders.
        return sorted(random.sample(known, len(known)), key=lambda node: node not in connected)

    async def _ask_bootstrap(self, request: Any) -> Any:
        error: BaseException = KafkaConnectionError("the list of bootstrap servers is empty")
        for host, port, _ in collect_hosts(self._hosts):
            try:
                async with asyncio.timeout(CONNECT_S):
                    connection = await self._connect(host, port)
                try:
                    async with asyncio.timeout(ANSWER_S):
                        answer = await connection.send(request)
                finally:
                    connection.close()
            except TROUBLE as failure:
                error = self._failed(failure)
                continue
            self._answered()
            return answer
        raise error

    async def coordinator(self, group: str) -> int:
        """Return the id of the group's coordinator. Raises Kafka's errors and those of the network."""
        answer = await self.ask_any(FindCoordinatorRequest(group, CoordinationType.GROUP))
        if answer.error_code:
            raise self._failed(for_code(answer.error_code)(group))
        if self._cluster.broker_metadata(answer.coordinator_id) is None:
            await self.refresh()
        return int(answer.coordinator_id)

    async def ask_any(self, request: Any) -> Any:
        """Return the answer of the first known broker that answers. If none does, the last one's error is raised."""
        error: BaseException = KafkaConnectionError("no broker is known")
        for node in self._known_nodes():
            try:
                return await self.send(node, request, "metadata")
            except TROUBLE as failure:
                error = failure
        raise error

    async def send(self, node: int, request: Any, purpose: str, answer_s: float = ANSWER_S) -> Any:
        """Send a request to a broker and return its answer. Raises Kafka's errors, `OSError` and `TimeoutError`."""
        connection = None
        try:
            connection = await self._connection(node, purpose)
            async with asyncio.timeout(answer_s):
                answer = await connection.send(request)
        except TROUBLE as error:
            if connection is not None:
                connection.close()
            self._failed(error)
            raise
        except asyncio.CancelledError:
            # A broker answers in order: the next request on this connection would wait for the cancelled one.
            if connection is not None:
                connection.close()
            raise
        self._answered()
        return answer

    async def connect(self, node: int, purpose: str) -> None:
        """Open the connection in advance, so that the first request need not wait. Raises as `send` does."""
        await self._connection(node, purpose)

    async def _connection(self, node: int, purpose: str) -> AIOKafkaConnection:
        name = (node, purpose)
        async with self._connecting[name]:
            connection = self._connections.get(name)
            if connection is not None and connection.connected():
                return connection
            broker = self._cluster.broker_metadata(node)
            if broker is None:
                raise StaleMetadata(f"broker {node} is not known")
            async with asyncio.timeout(CONNECT_S):
                self._connections[name] = await self._connect(broker.host, broker.port)
            return self._connections[name]

    async def _connect(self, host: str, port: int) -> AIOKafkaConnection:
        try:
            return await create_conn(
                host,
                port,
                client_id=self._client_id,
                # An upper limit only: each request has its own, shorter timeout.
                request_timeout_ms=120_000,
                max_idle_ms=_IDLE_MS,
                **self._options,
            )
        except AssertionError as error:  # aiokafka raises it for an answer that is not Kafka's protocol
            raise KafkaConnectionError("the handshake is invalid") from error

    def _answered(self) -> None:
        self.last_answer_s = asyncio.get_running_loop().time()

    def _failed(self, error: BaseException) -> BaseException:
        self.last_error, self.stale = error, True
        return error

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        connections = [*self._connections.values()]
        self._connections.clear()
        closed = [closing for connection in connections if (closing := connection.close()) is not None]
        if closed:
            await asyncio.wait(closed, timeout=1)
