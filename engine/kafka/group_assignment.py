"""Assigns the partitions to the members of a consumer group. Pure functions.

The member that the coordinator makes the group leader decides for all. The protocol name stays "roundrobin" so that
workers of an older build can be in the same group. The members also send the partitions that they own. So the leader
can leave these with them (a sticky assignment): a partition that does not move is consumed without a pause.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs
import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError

STRATEGY = "roundrobin"
_VERSION = 0


@attrs.frozen
class MemberMetadata:
    """The metadata that a member sends to the group leader: its topics, and the partitions of each that it owns."""

    topics: frozenset[str]
    owned: Mapping[str, frozenset[int]]


def encode_member(topic: str, owned: Iterable[int]) -> bytes:
    """Return the metadata that a member which reads `topic` sends when it joins."""
    user_data = msgspec.json.encode({topic: sorted(owned)})
    encoded: bytes = ConsumerProtocol.METADATA(_VERSION, [topic], user_data).encode()
    return encoded


def decode_member(data: bytes) -> MemberMetadata:
    """Decode the metadata of a member.

    Other kinds of members send no owned partitions. If the metadata cannot be decoded, the member has no topics.
    """
    try:
        metadata = ConsumerProtocol.METADATA.decode(data)
        topics = frozenset(topic for topic in metadata.subscription if isinstance(topic, str))
    except Exception:  # invalid metadata of another client must not stop the leader
        return MemberMetadata(frozenset(), {})
    try:
        owned = msgspec.json.decode(metadata.user_data or b"{}", type=dict[str, frozenset[int]])
    except Exception:  # other clients use this field for other data
        owned = {}
    return MemberMetadata(topics, owned)


def encode_assignment(partitions: Mapping[str, Sequence[int]]) -> bytes:
    """Encode the assignment of one member: the partitions of each topic."""
    encoded: bytes = ConsumerProtocol.ASSIGNMENT(_VERSION, sorted(partitions.items()), b"").encode()
    return encoded


def decode_assignment(data: bytes, topic: str) -> set[int]:
    """Decode the assigned partitions of `topic`. An empty assignment means no partitions.

    Raises `KafkaError` if it cannot be decoded: the group leader may be another kind of client.
    """
    if not data:
        return set()
    try:
        assignment = ConsumerProtocol.ASSIGNMENT.decode(data)
        return {partition for name, partitions in assignment.assignment if name == topic for partition in partitions}
    except Exception as error:
        raise KafkaError("the group leader sent an assignment that cannot be decoded") from error


def assign_partitions(
    members: Mapping[str, MemberMetadata], partitions: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, list[int]]]:
    """Return the assignment: for each member, its partitions of each topic.

    The shares are even, and each member keeps as many of its partitions as possible. `partitions` has every topic that
    a member reads. A partition that two members claim to own is kept by neither of them.
    """
    shares: dict[str, dict[str, list[int]]] = {name: {} for name in members}
    for topic, topic_partitions in partitions.items():
        readers = sorted(name for name, member in members.items() if topic in member.topics)
        if readers:
            for name, share in _assign_topic(readers, members, topic, sorted(topic_partitions)).items():
                shares[name][topic] = share
    return shares


def _assign_topic(
    readers: list[str], members: Mapping[str, MemberMetadata], topic: str, partitions: list[int]
) -> dict[str, list[int]]:
    claims = {name: members[name].owned.get(topic, frozenset()) for name in readers}
    owned = {
        name: [
            partition
            for partition in partitions
            if partition in claims[name] and sum(partition in claim for claim in claims.values()) == 1
        ]
        for name in readers
    }
    least, more = divmod(len(partitions), len(readers))
    # The larger shares go to the members that own the most, so that the fewest partitions move.
    by_owned = sorted(readers, key=lambda name: -len(owned[name]))
    size = {name: least + (index < more) for index, name in enumerate(by_owned)}
    shares = {name: owned[name][: size[name]] for name in readers}
    taken = {partition for share in shares.values() for partition in share}
    free = iter([partition for partition in partitions if partition not in taken])
    for name in readers:
        while len(shares[name]) < size[name]:
            shares[name].append(next(free))
        shares[name].sort()
    return shares
