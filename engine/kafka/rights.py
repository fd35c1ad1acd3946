"""Checks which operations on topics and on a group Kafka allows this client, without performing them."""

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
_UNKNOWN = -(2**31)
"""The broker's value for operations that it does not report."""
_METADATA = 3
_TRIES, _PAUSE_S = 10, 0.3
_PURPOSE = "rights"
_NO_MEMBER = "orderflow-asks-for-its-rights"
"""A member id that no member has."""


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
    """Requests topics with the allowed operations (since Kafka 2.3). aiokafka does not implement this version."""

    API_KEY = _METADATA

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(self._topics, False, False, True)


async def topic_rights(brokers: Brokers, topics: Sequence[str]) -> dict[str, frozenset[str] | None]:
    """Return the allowed operations for each topic.

    None: the broker does not report them. An empty set: the client may not even see the topic. A topic that does not
    exist is left out. Call `brokers.refresh` first. Raises `KafkaError` or `OSError`.
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
            allowed = frozenset(name for name, bit in _BITS.items() if operations >> bit & 1)
            rights[topic] = None if operations == _UNKNOWN else allowed
    return rights


async def may_join(brokers: Brokers, group: str) -> bool:
    """Return whether a client may join the group (permission READ). Checks it with the heartbeat of an unknown member.

    Call `brokers.refresh` first. Raises `KafkaError` or `OSError`.
    """
    try:
        coordinator = await _coordinator(brokers, group)
    except GroupAuthorizationFailedError:
        return False
    answer: Any = await brokers.send(coordinator, HeartbeatRequest(group, 0, _NO_MEMBER), _PURPOSE)
    return bool(answer.error_code != GroupAuthorizationFailedError.errno)


async def _coordinator(brokers: Brokers, group: str) -> int:
    for _ in range(_TRIES - 1):
        with suppress(GroupCoordinatorNotAvailableError):
            return await brokers.coordinator(group)
        await asyncio.sleep(_PAUSE_S)  # for the first group, a new cluster must create the topic of committed offsets
    return await brokers.coordinator(group)
