"""Connections to Kafka's brokers, and what they say of a topic: its partitions and who leads each of them.

aiokafka's own client asks its list of brokers only once, keeps the reason of a failed connection to itself, and has one
time limit for all requests. Here every request has a deadline of its own, the list of brokers is asked whenever no
known broker answers (so a cluster that has moved to other addresses is found), and errors keep their causes.
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
"""What a request may raise: an error of Kafka's, or of the network (a time-out is one)."""
REFUSED_LOGIN = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)
"""What a connection may raise when the brokers do not let its user in."""


def describe_kafka(error: BaseException) -> str:
    """Return a short description of an error, from its cause: a certificate that was not accepted is named as that."""
    found = find_tls_error(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"certificate: {found.verify_message}"
    if found is not None:
        return f"TLS: {found.reason or type(found).__name__}"
    return "no answer" if isinstance(error, TimeoutError) else type(error).__name__


class Brokers:
    """The brokers of a cluster, for one topic or none. `options` are keyword arguments of aiokafka's clients.

    Each connection is named by its broker and a purpose: a broker answers the requests of one connection in turn, and
    one that waits (a fetch, a join) must not hold up others. `topics` are those that `refresh` asks for, `stale` says
    that it is time to ask again, and `heard_s` is when a broker last answered, on the loop's clock.
    """

    def __init__(self, options: Mapping[str, Any], topic: str | None = None) -> None:
        self._hosts = options.get("bootstrap_servers", "localhost")
        self._options = {name: value for name, value in options.items() if name in _CONNECTION_OPTIONS}
        self._client_id = options.get("client_id", "orderflow")
        self._topic = topic
        self._cluster = ClusterMetadata()
        self._connections: dict[tuple[Any, str], AIOKafkaConnection] = {}
        self._connecting: defaultdict[tuple[Any, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.topics = set() if topic is None else {topic}
        self.stale = False
        self.heard_s = 0.0
        self.last_error: BaseException | None = None

    def nodes(self) -> list[int]:
        """Return the ids of the brokers as last heard, sorted."""
        return sorted(broker.nodeId for broker in self._cluster.brokers())

    def partitions(self, topic: str | None = None) -> list[int]:
        """Return the partitions of a topic (by default of this one's) as last heard, sorted."""
        return sorted(self._cluster.partitions_for_topic(topic or self._topic) or ())

    def leader(self, partition: int) -> int | None:
        """Return the broker that leads a partition, or None when there is none, or none is known."""
        node = self._cluster.leader_for_partition(TopicPartition(self._topic, partition))
        return None if node is None or node == -1 else node

    def by_leader(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Return partitions by the broker that leads them. Those that nobody leads are missing."""
        led: defaultdict[int, list[int]] = defaultdict(list)
        for partition in partitions:
            if (leader := self.leader(partition)) is not None:
                led[leader].append(partition)
        return dict(led)

    async def refresh(self) -> None:
        """Ask for the brokers and the partitions' leaders, of `topics`. Never creates a topic.

        Connected brokers are asked first, then those that are known, then the list. Raises the last one's error when
        none answers, and `UnknownTopicOrPartitionError` where the topic is missing.
        """
        request = MetadataRequest(sorted(self.topics), allow_auto_topic_creation=False)
        try:
            answer = await self.ask_any(request)
        except TROUBLE:
            answer = await self._ask_list(request)
        if not answer.brokers:
            raise self._failed(KafkaConnectionError("the answer names no broker"))
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
        # Not always the same one first: it may be cut off from the others, and tell of leaders that were.
        return sorted(random.sample(known, len(known)), key=lambda node: node not in connected)

    async def _ask_list(self, request: Any) -> Any:
        error: BaseException = KafkaConnectionError("there is no broker to ask")
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
            self._heard()
            return answer
        raise error

    async def coordinator(self, group: str) -> int:
        """Return the broker that coordinates a group. Raises Kafka's errors, or the network's."""
        answer = await self.ask_any(FindCoordinatorRequest(group, CoordinationType.GROUP))
        if answer.error_code:
            raise self._failed(for_code(answer.error_code)(group))
        if self._cluster.broker_metadata(answer.coordinator_id) is None:
            await self.refresh()
        return int(answer.coordinator_id)

    async def ask_any(self, request: Any) -> Any:
        """Return the answer of the first known broker that gives one. Raises the last one's error, as `send` does."""
        error: BaseException = KafkaConnectionError("no broker is known")
        for node in self._known_nodes():
            try:
                return await self.send(node, request, "metadata")
            except TROUBLE as failure:
                error = failure
        raise error

    async def send(self, node: int, request: Any, purpose: str, answer_s: float = ANSWER_S) -> Any:
        """Return a broker's answer. Raises the network's errors, `TimeoutError` among them, and Kafka's."""
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
            # A broker answers in turn: behind a request that waits there, the next one would wait, too.
            if connection is not None:
                connection.close()
            raise
        self._heard()
        return answer

    async def connect(self, node: int, purpose: str) -> None:
        """Be connected before there is something to send. Raises as `send` does."""
        await self._connection(node, purpose)

    async def _connection(self, node: int, purpose: str) -> AIOKafkaConnection:
        name = (node, purpose)
        async with self._connecting[name]:
            found = self._connections.get(name)
            if found is not None and found.connected():
                return found
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
                # The longest that any request waits: each has a deadline of its own.
                request_timeout_ms=120_000,
                max_idle_ms=_IDLE_MS,
                **self._options,
            )
        except AssertionError as error:  # aiokafka's word for a handshake that makes no sense
            raise KafkaConnectionError("the handshake makes no sense") from error

    def _heard(self) -> None:
        self.heard_s = asyncio.get_running_loop().time()

    def _failed(self, error: BaseException) -> BaseException:
        self.last_error, self.stale = error, True
        return error

    async def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        connections = [*self._connections.values()]
        self._connections.clear()
        closed = [closing for connection in connections if (closing := connection.close()) is not None]
        if closed:
            await asyncio.wait(closed, timeout=1)
