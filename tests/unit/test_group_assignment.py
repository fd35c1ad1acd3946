"""Partitions are shared out evenly, every one to exactly one member, and as few as possible move."""

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from engine.kafka.group_assignment import (
    MemberMetadata,
    assign_partitions,
    decode_assignment,
    decode_member,
    encode_assignment,
    encode_member,
)

TOPIC = "orders"
_OWNED = st.frozensets(st.integers(0, 9))
_MEMBERS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), _OWNED, min_size=1, max_size=6)


def members(owned: dict[str, frozenset[int]]) -> dict[str, MemberMetadata]:
    return {name: MemberMetadata(frozenset({TOPIC}), {TOPIC: partitions}) for name, partitions in owned.items()}


def shared(owned: dict[str, frozenset[int]], partitions: int) -> dict[str, list[int]]:
    shares = assign_partitions(members(owned), {TOPIC: range(partitions)})
    return {name: share[TOPIC] for name, share in shares.items()}


@given(owned=_MEMBERS, partitions=st.integers(0, 12))
def test_every_partition_goes_to_one_member_and_the_shares_are_even(
    owned: dict[str, frozenset[int]], partitions: int
) -> None:
    """Whatever the members say that they have."""
    shares = shared(owned, partitions)
    assert sorted(one for share in shares.values() for one in share) == list(range(partitions))
    assert max(map(len, shares.values())) - min(map(len, shares.values())) <= 1


@given(names=st.sets(st.text("abcdef", min_size=1, max_size=3), min_size=2, max_size=6), partitions=st.integers(1, 12))
def test_who_leaves_and_comes_back_moves_nobody_else_more_than_it_must(names: set[str], partitions: int) -> None:
    """What the others had when one left is still theirs; when it is back, they keep all but its share."""
    before = {name: frozenset(share) for name, share in shared(dict.fromkeys(names, frozenset()), partitions).items()}
    [gone, *left] = sorted(names)
    without = shared({name: before[name] for name in left}, partitions)
    assert all(before[name] <= set(without[name]) for name in left)
    again = shared({gone: frozenset(), **{name: frozenset(without[name]) for name in left}}, partitions)
    assert all(set(again[name]) <= set(without[name]) for name in left)


def test_a_partition_that_two_claim_is_left_with_neither_by_right() -> None:
    """Each of the two may be the one that was cut off."""
    assert shared({"a": frozenset({0, 1}), "b": frozenset({1, 2})}, 4) == {"a": [0, 1], "b": [2, 3]}


def test_a_topic_goes_to_those_who_read_it() -> None:
    """Two pipelines may share a group by mistake: neither is given the other's messages."""
    group = {"a": MemberMetadata(frozenset({"one"}), {}), "b": MemberMetadata(frozenset({"two"}), {})}
    assert assign_partitions(group, {"one": [0, 1], "two": [0]}) == {"a": {"one": [0, 1]}, "b": {"two": [0]}}


def test_what_members_say_and_hear_comes_back_from_kafkas_format() -> None:
    """A member that is not ours, or has nothing yet, is read as well."""
    assert decode_member(encode_member(TOPIC, {3, 1})) == MemberMetadata(frozenset({TOPIC}), {TOPIC: frozenset({1, 3})})
    for other in (b"", b"\x00\x01\xff", None):
        metadata = ConsumerProtocol.METADATA(0, [TOPIC], other).encode()
        assert decode_member(metadata) == MemberMetadata(frozenset({TOPIC}), {})
    for garbage in (b"", b"\x00", b"\x00\x00\x7f\xff\xff\xff", b"\xff" * 40):
        assert decode_member(garbage) == MemberMetadata(frozenset(), {})
        with pytest.raises(KafkaError):
            decode_assignment(garbage or b"\x00", TOPIC)
    odd = ConsumerProtocol.METADATA(0, [TOPIC, None], b'{"\xff": [1]}').encode()
    assert decode_member(odd) == MemberMetadata(frozenset({TOPIC}), {})
    assert decode_assignment(encode_assignment({TOPIC: [2, 0], "other": [1]}), TOPIC) == {0, 2}
    assert decode_assignment(b"", TOPIC) == set()
