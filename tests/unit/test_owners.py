"""Who owns a partition: matched by the member ids that workers report."""

from typing import Any

from lookup.operations.owners import FOREIGN, GRACE_S, OwnerMatcher, read_once
from msgspec import json

from engine.kafka.group_members import Member


def member(member_id: str, *partitions: int) -> Member:
    return Member(member_id, "client", "/127.0.0.1", frozenset(partitions))


def worker(name: str, member_id: str | None, *partitions: int, state: str = "idle") -> dict[str, Any]:
    details = {} if member_id is None else {"member_id": member_id}
    return {
        "host": "host",
        "worker": name,
        "state": state,
        "partitions": list(partitions),
        "details": json.encode(details).decode(),
    }


def test_a_worker_owns_what_its_member_was_given() -> None:
    owners = OwnerMatcher().match([member("a", 0, 2), member("b", 1)], [worker("w-0", "a"), worker("w-1", "b")], 0.0)
    assert owners.by_partition == {0: "host/w-0", 2: "host/w-0", 1: "host/w-1"}
    assert (owners.foreign, owners.foreign_members, owners.undecided) == ([], [], False)


def test_a_member_that_stays_unknown_is_a_stranger() -> None:
    """Not at first: a worker that has just joined has told its member id, and its supervisor writes it in a moment."""
    matcher, stranger = OwnerMatcher(), member("x", 1, 3)
    first = matcher.match([stranger, member("a", 0)], [worker("w", "a")], 0.0)
    assert (first.by_partition, first.undecided) == ({1: None, 3: None, 0: "host/w"}, True)
    later = matcher.match([stranger, member("a", 0)], [worker("w", "a")], GRACE_S)
    assert later.by_partition == {1: FOREIGN, 3: FOREIGN, 0: "host/w"}
    assert (later.foreign, later.foreign_members, later.undecided) == ([1, 3], [stranger], False)


def test_a_worker_that_tells_its_member_id_late_was_never_a_stranger() -> None:
    matcher = OwnerMatcher()
    matcher.match([member("a", 0)], [], 0.0)
    assert matcher.match([member("a", 0)], [worker("w", "a")], GRACE_S).by_partition == {0: "host/w"}


def test_each_partition_of_an_unknown_member_has_its_own_grace() -> None:
    """A worker of an older build tells its partitions alone, and a little after the group has given it more."""
    matcher, old = OwnerMatcher(), worker("w", None, 0)
    assert matcher.match([member("old", 0)], [old], 0.0).by_partition == {0: None}
    assert matcher.match([member("old", 0, 1)], [old], 100.0).foreign == []
    assert matcher.match([member("old", 0, 1)], [worker("w", None, 0, 1)], 101.0).by_partition == {0: None, 1: None}


def test_a_stranger_is_found_beside_workers_of_an_older_build() -> None:
    matcher, old = OwnerMatcher(), worker("w", None, 0)
    matcher.match([member("old", 0), member("x", 1)], [old], 0.0)
    assert matcher.match([member("old", 0), member("x", 1)], [old], GRACE_S).by_partition == {0: None, 1: FOREIGN}


def test_a_worker_that_has_died_is_no_stranger_for_as_long_as_the_group_keeps_it() -> None:
    """Neither while its row says so, nor when it was started anew and the row tells another member."""
    matcher = OwnerMatcher()
    assert matcher.match([member("a", 0)], [worker("w", "a", state="dead")], 0.0).by_partition == {0: None}
    for now_s in (1.0, 1.0 + GRACE_S):
        assert matcher.match([member("a", 0)], [worker("w", "b")], now_s).by_partition == {0: None}


def test_a_member_that_reads_another_topic_owns_nothing_here() -> None:
    matcher = OwnerMatcher()
    matcher.match([member("x")], [], 0.0)
    assert matcher.match([member("x")], [], GRACE_S).foreign == []


async def test_who_asks_once_waits_for_whoever_is_not_known(monkeypatch: Any) -> None:
    """And asks both sides again."""
    monkeypatch.setattr("lookup.operations.owners.GRACE_S", 0.01)
    asked: list[str] = []

    class Group:
        async def fetch(self) -> list[Member]:
            asked.append("members")
            return [member("a", 0), member("x", 1)]

    async def workers() -> list[dict[str, Any]]:
        asked.append("workers")
        return [worker("w", "a")] if len(asked) > 2 else []

    owners = await read_once(Group(), workers)  # type: ignore[arg-type]
    assert owners.by_partition == {0: "host/w", 1: FOREIGN}
    assert asked == ["members", "workers"] * 2
