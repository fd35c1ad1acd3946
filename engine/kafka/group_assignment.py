"""Who of a consumer group's members gets which partitions. Pure.

The member that the broker names the leader decides for all. Kafka's name of the strategy is "roundrobin", as before, so
that workers of an older build may be in the same group; ours also tell the leader what they have, so that it can leave
it with them: a partition that stays goes on without a pause.
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
    """What the leader knows of a member: the topics that it reads, and the partitions of each that it has."""

    topics: frozenset[str]
    owned: Mapping[str, frozenset[int]]


def encode_member(topic: str, owned: Iterable[int]) -> bytes:
    """Return what a member of `topic` says of itself when it joins."""
    told = msgspec.json.encode({topic: sorted(owned)})
    encoded: bytes = ConsumerProtocol.METADATA(_VERSION, [topic], told).encode()
    return encoded


def decode_member(data: bytes) -> MemberMetadata:
    """Return what a member said of itself.

    One that is not ours says nothing of what it has; one that says nothing that can be read reads no topic.
    """
    try:
        metadata = ConsumerProtocol.METADATA.decode(data)
        topics = frozenset(topic for topic in metadata.subscription if isinstance(topic, str))
    except Exception:  # whatever a stranger wrote must not end whoever leads the group
        return MemberMetadata(frozenset(), {})
    try:
        owned = msgspec.json.decode(metadata.user_data or b"{}", type=dict[str, frozenset[int]])
    except Exception:  # it means something else to its own kind
        owned = {}
    return MemberMetadata(topics, owned)


def encode_assignment(partitions: Mapping[str, Sequence[int]]) -> bytes:
    """Return the assignment of one member: the partitions of each topic."""
    encoded: bytes = ConsumerProtocol.ASSIGNMENT(_VERSION, sorted(partitions.items()), b"").encode()
    return encoded


def decode_assignment(data: bytes, topic: str) -> set[int]:
    """Return the partitions of `topic` that were assigned; none when there is no assignment.

    Raises `KafkaError` when the group's leader, which may be a stranger, wrote something else.
    """
    if not data:
        return set()
    try:
        assignment = ConsumerProtocol.ASSIGNMENT.decode(data)
        return {partition for name, partitions in assignment.assignment if name == topic for partition in partitions}
    except Exception as error:
        raise KafkaError("the leader of the group gave an assignment that cannot be read") from error


def share_out(
    members: Mapping[str, MemberMetadata], partitions: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, list[int]]]:
    """Return, for each member, its partitions of each topic: even shares, in which each keeps what it can.

    `partitions` are those of every topic that some member reads. A partition that two members say they have is left
    with neither of them.
    """
    shares: dict[str, dict[str, list[int]]] = {name: {} for name in members}
    for topic, all_of_it in partitions.items():
        readers = sorted(name for name, member in members.items() if topic in member.topics)
        if readers:
            for name, share in _share_topic(readers, members, topic, sorted(all_of_it)).items():
                shares[name][topic] = share
    return shares


def _share_topic(
    readers: list[str], members: Mapping[str, MemberMetadata], topic: str, partitions: list[int]
) -> dict[str, list[int]]:
    claims = {name: members[name].owned.get(topic, frozenset()) for name in readers}
    owned = {
        name: [one for one in partitions if one in claims[name] and sum(one in other for other in claims.values()) == 1]
        for name in readers
    }
    least, more = divmod(len(partitions), len(readers))
    # The larger shares go to those who have the most, so that the fewest partitions move.
    by_owned = sorted(readers, key=lambda name: -len(owned[name]))
    size = {name: least + (index < more) for index, name in enumerate(by_owned)}
    shares = {name: owned[name][: size[name]] for name in readers}
    taken = {one for share in shares.values() for one in share}
    free = iter([one for one in partitions if one not in taken])
    for name in readers:
        while len(shares[name]) < size[name]:
            shares[name].append(next(free))
        shares[name].sort()
    return shares
