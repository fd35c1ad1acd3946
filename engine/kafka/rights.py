"""What Kafka lets this client do with topics and a group, found out without doing any of it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from engine.kafka.brokers import Brokers

READ, WRITE, DESCRIBE = "READ", "WRITE", "DESCRIBE"
_BITS: Mapping[str, int] = {READ: 3, WRITE: 4, DESCRIBE: 8}
_NOT_TOLD = -(2**31)
_METADATA = 3
_TRIES, _PAUSE_S = 10, 0.3
_PURPOSE = "rights"
_NOBODY = "orderflow-asks-for-its-rights"


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = _METADATA
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is not typed
    API_KEY = _METADATA
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataStruct]):  # type: ignore[misc]  # aiokafka is not typed
    """Asks for topics with what may be done to them: since Kafka 2.3, in a version that aiokafka does not have."""

    API_KEY = _METADATA

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(self._topics, False, False, True)


async def topic_rights(brokers: Brokers, topics: Sequence[str]) -> dict[str, frozenset[str] | None]:
    """Return what may be done to each topic; None where the broker does not tell, and nothing where it is hidden.

    A topic that is missing is missing. `brokers` have been refreshed. Raises `KafkaError` or `OSError`.
    """
    try:
        answer: Any = await brokers.ask_any(_MetadataRequest(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(topics)
    rights: dict[str, frozenset[str] | None] = {}
    for code, topic, _, _, operations in answer.topics:
        if code == TopicAuthorizationFailedError.errno:
            rights[topic] = frozenset()
        elif code == 0:
            told = frozenset(name for name, bit in _BITS.items() if operations >> bit & 1)
            rights[topic] = None if operations == _NOT_TOLD else told
    return rights


async def may_join(brokers: Brokers, group: str) -> bool:
    """Return whether a client may be a member of the group (the right READ): a heartbeat of nobody's asks for it.

    `brokers` have been refreshed. Raises `KafkaError` or `OSError`.
    """
    try:
        coordinator = await _coordinator(brokers, group)
    except GroupAuthorizationFailedError:
        return False
    answer: Any = await brokers.send(coordinator, HeartbeatRequest(group, 0, _NOBODY), _PURPOSE)
    return bool(answer.error_code != GroupAuthorizationFailedError.errno)


async def _coordinator(brokers: Brokers, group: str) -> int:
    for _ in range(_TRIES - 1):
        with suppress(GroupCoordinatorNotAvailableError):
            return await brokers.coordinator(group)
        await asyncio.sleep(_PAUSE_S)  # the first group of a new cluster has to wait until there is a place for it
    return await brokers.coordinator(group)
