"""The request ConsumerGroupDescribe of Kafka 3.7 and later (KIP-848), which aiokafka does not implement."""

from typing import ClassVar

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_KEY = 69
_TOPICS = (
    "topic_partitions",
    CompactArray(
        # A topic's id is 16 bytes.
        ("topic_id", Int64),
        ("topic_id_rest", Int64),
        ("topic_name", CompactString("utf-8")),
        ("partitions", CompactArray(Int32)),
        ("tags", TaggedFields),
    ),
)
_ASSIGNMENT = Schema(_TOPICS, ("tags", TaggedFields))
_MEMBERS = (
    "members",
    CompactArray(
        ("member_id", CompactString("utf-8")),
        ("instance_id", CompactString("utf-8")),
        ("rack_id", CompactString("utf-8")),
        ("member_epoch", Int32),
        ("client_id", CompactString("utf-8")),
        ("client_host", CompactString("utf-8")),
        ("subscribed_topic_names", CompactArray(CompactString("utf-8"))),
        ("subscribed_topic_regex", CompactString("utf-8")),
        ("assignment", _ASSIGNMENT),
        ("target_assignment", _ASSIGNMENT),
        ("tags", TaggedFields),
    ),
)


class ConsumerGroupDescribeResponse(Response):  # type: ignore[misc]  # aiokafka is not typed
    """The description of groups: their members, with the partitions that each of them owns."""

    API_KEY = _KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("group", CompactString("utf-8")),
                ("group_state", CompactString("utf-8")),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor", CompactString("utf-8")),
                _MEMBERS,
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeRequest(RequestStruct):  # type: ignore[misc]  # aiokafka is not typed
    """The request in version 0. It names the groups to describe."""

    FLEXIBLE_VERSION: ClassVar[bool] = True
    API_KEY = _KEY
    API_VERSION = 0
    RESPONSE_TYPE = ConsumerGroupDescribeResponse
    SCHEMA = Schema(
        ("groups", CompactArray(CompactString("utf-8"))),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class ConsumerGroupDescribeRequest(Request[DescribeRequest]):  # type: ignore[misc]  # aiokafka is not typed
    """Describes one group. With a broker before Kafka 3.7, sending it raises `IncompatibleBrokerVersion`."""

    API_KEY = _KEY

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[DescribeRequest]) -> DescribeRequest:
        """Build the request in the version that the broker supports."""
        return request_struct_class([self._group], False, {})
