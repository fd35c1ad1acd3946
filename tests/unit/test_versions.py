"""The last message of a partition wins; across partitions the later timestamp does; and a repeat changes nothing."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.records import bounded_ms, known_time, ms_of, time_of
from handlers.versions import UNKNOWN_TOPIC, Candidate, Origin, Stored, latest_of_each, plan_writes, supersedes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)

sources = st.builds(
    Origin,
    topic=st.sampled_from([UNKNOWN_TOPIC, "a", "b"]),
    partition=st.integers(0, 2),
    offset=st.integers(0, 5),
    timestamp=st.integers(-1, 5),
    epoch=st.integers(0, 1),
)


def at(partition: int, offset: int, timestamp: int, epoch: int = 0, topic: str = "orders") -> Origin:
    return Origin(topic, partition, offset, timestamp, epoch)


def candidate(source: Origin, uid: str = "u", content: bytes = b"") -> Candidate[bytes]:
    return Candidate(uid, source, content, content)


def stored(source: Origin, content: bytes = b"", updated_at: datetime = NOW) -> Stored:
    return Stored(source, content, NOW - timedelta(days=1), updated_at)


@given(one=sources, other=sources)
def test_of_two_different_sources_exactly_one_wins(one: Origin, other: Origin) -> None:
    """Antisymmetric, and total: every worker decides alike, whichever it saw first."""
    same = replace(one, timestamp=0) == replace(other, timestamp=0)
    assert supersedes(one, other) + supersedes(other, one) == (0 if same else 1)


@given(source=sources)
def test_a_message_does_not_replace_itself(source: Origin) -> None:
    """A redelivery is no change."""
    assert not supersedes(source, source)


def test_within_a_partition_the_later_offset_wins() -> None:
    """Whatever a producer's clock says."""
    assert supersedes(at(0, 8, timestamp=1), at(0, 7, timestamp=99))
    assert not supersedes(at(0, 7, timestamp=99), at(0, 8, timestamp=1))


def test_across_partitions_the_later_timestamp_wins() -> None:
    """Whatever the offsets are: they do not compare."""
    assert supersedes(at(0, 1, timestamp=2), at(1, 500, timestamp=1))
    assert not supersedes(at(1, 500, timestamp=1), at(0, 1, timestamp=2))


def test_a_tie_across_partitions_goes_to_the_higher_one() -> None:
    """Somebody has to win, and always the same."""
    assert supersedes(at(2, 1, timestamp=5), at(1, 9, timestamp=5))


def test_a_topic_that_was_created_anew_begins_again_at_offset_zero() -> None:
    """Its messages are compared by time with those of the topic before."""
    assert supersedes(at(0, 0, timestamp=6, epoch=1), at(0, 700, timestamp=5, epoch=0))
    assert supersedes(at(0, 0, timestamp=5, epoch=1), at(0, 700, timestamp=5, epoch=0))
    assert not supersedes(at(0, 0, timestamp=4, epoch=1), at(0, 700, timestamp=5, epoch=0))


def test_across_topics_the_later_timestamp_wins() -> None:
    """Whatever the offsets are, in the same partition too: they do not compare."""
    assert supersedes(at(1, 0, timestamp=2, topic="b"), at(1, 4999, timestamp=1, topic="a"))
    assert not supersedes(at(1, 4999, timestamp=1, topic="a"), at(1, 0, timestamp=2, topic="b"))


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (at(0, 1, 5, epoch=1, topic="a"), at(1, 9, 5, epoch=0, topic="b")),
        (at(0, 1, 5, topic="b"), at(1, 9, 5, topic="a")),
        (at(1, 1, 5), at(0, 9, 5)),
        (at(0, 1, 5, topic="a"), at(1, 9, 5, topic=UNKNOWN_TOPIC)),
    ],
    ids=["epoch", "topic", "partition", "a topic that is not known"],
)
def test_on_a_tie_the_epoch_decides_then_the_topic_then_the_partition(winner: Origin, loser: Origin) -> None:
    """In this order; a topic that is not known loses to any that is."""
    assert supersedes(winner, loser)
    assert not supersedes(loser, winner)


def test_no_timestamp_is_the_oldest() -> None:
    """Older than the first instant of 1970, which a producer may send; within a partition it decides nothing."""
    unknown, first = at(1, 9, bounded_ms(-1)), at(0, 1, bounded_ms(0))
    assert supersedes(first, unknown)
    assert not supersedes(unknown, first)
    assert supersedes(at(0, 2, bounded_ms(-1)), at(0, 1, timestamp=99))


@pytest.mark.parametrize("timestamp", [-1, 0, 1, 1_767_225_600_123, 253_402_300_799_999])
def test_a_timestamp_is_read_back_as_it_was_stored(timestamp: int) -> None:
    """As an instant, which is only shown where there was a timestamp."""
    stored_at = time_of(timestamp)
    assert ms_of(stored_at) == timestamp
    assert known_time(stored_at) == (None if timestamp == -1 else stored_at)


@pytest.mark.parametrize(("sent", "taken"), [(-(2**63), -1), (-2, -1), (2**63 - 1, 253_402_300_799_999)])
def test_a_timestamp_out_of_all_bounds_is_bounded(sent: int, taken: int) -> None:
    """A producer may send any number: what is negative is no time."""
    assert bounded_ms(sent) == taken
    assert ms_of(time_of(sent)) == taken


def test_only_the_winner_of_each_uid_is_left_sorted_by_uid() -> None:
    """Sorted, so that two writers lock in the same order."""
    first, second, other = (
        candidate(at(0, 1, 1), "b"),
        candidate(at(0, 2, 1), "b"),
        candidate(at(0, 3, 1), "a"),
    )
    assert latest_of_each([first, second, other]) == [other, second]
    assert latest_of_each([]) == []


def test_uids_are_sorted_as_the_database_sorts_them() -> None:
    """By code point, which is the order of their bytes in UTF-8."""
    uids = ["é", "z", "Z", "ж", "\ue000", "😀", "a"]
    ordered = [one.uid for one in latest_of_each(candidate(at(0, place, 0), uid) for place, uid in enumerate(uids))]
    assert ordered == sorted(uids, key=lambda uid: uid.encode())


@given(messages=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 9)), max_size=12))
def test_the_winner_is_one_that_none_of_the_others_replaces(messages: list[tuple[str, int, int]]) -> None:
    """Where clocks do not run backwards, whatever the order of arrival."""
    candidates = [
        candidate(at(partition, offset, timestamp=offset * 10 + partition), uid)
        for offset, (uid, partition, _) in enumerate(messages)
    ]
    winners = latest_of_each(candidates)
    assert [one.uid for one in winners] == sorted({one.uid for one in candidates})
    assert winners == latest_of_each(sorted(candidates, key=lambda one: messages[one.source.offset][2]))
    for winner in winners:
        assert not any(supersedes(one.source, winner.source) for one in candidates if one.uid == winner.uid)


def test_a_new_order_is_created_and_updated_now() -> None:
    """Both timestamps are the same."""
    new = candidate(at(0, 1, 1))
    plan = plan_writes([new], {}, NOW)
    assert [(write.candidate, write.created_at, write.updated_at) for write in plan.inserts] == [(new, NOW, NOW)]
    assert (plan.changes, plan.unchanged, plan.stale) == ([], [], [])


def test_a_change_keeps_created_at_and_moves_updated_at() -> None:
    """To now, when now is later."""
    known = stored(at(0, 1, 1), b"old", NOW - timedelta(hours=1))
    plan = plan_writes([candidate(at(0, 2, 1), content=b"new")], {"u": known}, NOW)
    [write] = plan.changes
    assert (write.created_at, write.updated_at) == (known.created_at, NOW)
    assert (plan.inserts, plan.unchanged, plan.stale) == ([], [], [])


@pytest.mark.parametrize("behind", [timedelta(0), TICK, timedelta(hours=1), timedelta(days=400)])
def test_a_change_moves_updated_at_even_when_this_clock_is_behind(behind: timedelta) -> None:
    """The cache compares versions: a change that did not move would not be seen."""
    known = stored(at(0, 1, 1), b"old", NOW + behind)
    [write] = plan_writes([candidate(at(0, 2, 1), content=b"new")], {"u": known}, NOW).changes
    assert write.updated_at == known.updated_at + TICK


def test_a_redelivery_is_no_change() -> None:
    """The same message again leaves no trace at all."""
    source = at(0, 1, 1)
    again = candidate(source, content=b"same")
    plan = plan_writes([again], {"u": stored(source, b"same")}, NOW)
    assert (plan.inserts, plan.changes, plan.unchanged, plan.stale) == ([], [], [], [again])


def test_an_equal_repeat_moves_only_the_source() -> None:
    """A later message with the same content is not a new version."""
    repeat = candidate(at(0, 2, 1), content=b"same")
    plan = plan_writes([repeat], {"u": stored(at(0, 1, 1), b"same")}, NOW)
    assert (plan.inserts, plan.changes, plan.unchanged, plan.stale) == ([], [], [repeat], [])


def test_an_older_message_leaves_no_trace() -> None:
    """Even if its content differs."""
    late = candidate(at(0, 1, 9), content=b"old")
    plan = plan_writes([late], {"u": stored(at(0, 2, 1), b"new")}, NOW)
    assert (plan.inserts, plan.changes, plan.unchanged, plan.stale) == ([], [], [], [late])


def test_a_plan_keeps_the_order_of_the_uids() -> None:
    """Each list is sorted, because what it was made from is."""
    latest = latest_of_each(candidate(at(0, place, 0), uid, b"new") for place, uid in enumerate("dbca"))
    known = {uid: stored(at(1, 0, -1), b"old") for uid in "bd"}
    plan = plan_writes(latest, known, NOW)
    assert [write.candidate.uid for write in plan.inserts] == ["a", "c"]
    assert [write.candidate.uid for write in plan.changes] == ["b", "d"]


# --- A store of a dict: replay from the beginning, in whatever batches and however the partitions interleave -------


@attrs.frozen
class Message:
    """One message of a partition's log."""

    uid: str
    content: bytes
    source: Origin


Store = dict[str, Stored]
Logs = list[list[Message]]


def apply_batch(store: Store, batch: Iterable[Message], now: datetime) -> int:
    """Do to the store what the writer does to PostgreSQL. Returns how many rows that touched."""
    latest = latest_of_each((Candidate(one.uid, one.source, one.content, one.content) for one in batch), store)
    plan = plan_writes(latest, store, now)
    for write in (*plan.inserts, *plan.changes):
        new = write.candidate
        store[new.uid] = Stored(new.source, new.digest, write.created_at, write.updated_at)
    for one in plan.unchanged:
        store[one.uid] = attrs.evolve(store[one.uid], source=one.source)
    return len(plan.inserts) + len(plan.changes) + len(plan.unchanged)


def consume(store: Store, logs: Logs, data: st.DataObject) -> int:
    """Apply all messages in batches of any size, each partition in its own order, with a clock that jumps."""
    positions = [0] * len(logs)
    touched = 0
    while any(position < len(log) for position, log in zip(positions, logs, strict=True)):
        batch: list[Message] = []
        for partition, log in enumerate(logs):
            count = data.draw(st.integers(0, 4))
            batch += log[positions[partition] : positions[partition] + count]
            positions[partition] += count
        touched += apply_batch(store, batch, NOW + timedelta(seconds=data.draw(st.integers(-100, 100))))
    return touched


@st.composite
def partition_logs(draw: st.DrawFn) -> Logs:
    """Draw the logs of a few partitions, of two topics, whose timestamps never go back; some begin without any."""
    logs: Logs = []
    places = [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    for topic, partition in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        timestamp: int = draw(st.integers(-1, 0))
        log: list[Message] = []
        for offset in range(draw(st.integers(0, 8))):
            timestamp += draw(st.integers(0, 3))
            source = at(partition, offset, timestamp, topic=topic)
            log.append(Message(draw(st.sampled_from("abc")), draw(st.sampled_from([b"1", b"2"])), source))
        logs.append(log)
    return logs


def winners(logs: Logs) -> dict[str, bytes]:
    """Return by uid what the contract says: the last of each partition, and of those the one with the latest time."""
    last = {(one.uid, one.source.topic, one.source.partition): one for log in logs for one in log}
    best: dict[str, Message] = {}
    for one in last.values():
        known = best.get(one.uid)
        if known is None or _order(one.source) > _order(known.source):
            best[one.uid] = one
    return {uid: one.content for uid, one in best.items()}


def _order(source: Origin) -> tuple[int, str, int]:
    return source.timestamp, source.topic, source.partition


@given(logs=partition_logs(), data=st.data())
def test_however_messages_arrive_the_same_versions_are_stored(logs: Logs, data: st.DataObject) -> None:
    """In any batches and any interleaving of the partitions, the store ends as the contract says."""
    store: Store = {}
    consume(store, logs, data)
    assert {uid: row.digest for uid, row in store.items()} == winners(logs)


@given(logs=partition_logs(), data=st.data())
def test_a_replay_from_the_beginning_changes_nothing(logs: Logs, data: st.DataObject) -> None:
    """Not a version, not a source, not a timestamp: no row is even touched."""
    store: Store = {}
    consume(store, logs, data)
    before = dict(store)
    assert consume(store, logs, data) == 0
    assert store == before


@given(logs=partition_logs(), data=st.data())
def test_versions_only_move_forward(logs: Logs, data: st.DataObject) -> None:
    """An order's content never changes without a later `updated_at`, and `created_at` never changes."""
    store: Store = {}
    for one in data.draw(st.permutations([one for log in logs for one in log])):
        before = store.get(one.uid)
        apply_batch(store, [one], NOW + timedelta(seconds=data.draw(st.integers(-100, 100))))
        after = store[one.uid]
        if before is not None:
            assert after.created_at == before.created_at
            assert (after.digest == before.digest) == (after.updated_at == before.updated_at)
            assert after.updated_at >= before.updated_at


def test_a_newer_message_is_kept_when_its_producers_clock_went_back() -> None:
    """However three messages fall into batches, the last one of a partition is not replaced by an older one."""
    first = Message("u", b"first", at(0, 1, timestamp=100))
    last = Message("u", b"last", at(0, 2, timestamp=50))
    other = Message("u", b"other", at(1, 1, timestamp=75))
    for batches in ([[first], [last, other]], [[first], [last], [other]], [[first, last, other]]):
        store: Store = {}
        for batch in batches:
            apply_batch(store, batch, NOW)
        assert store["u"].digest == b"last"
