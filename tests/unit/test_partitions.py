"""A partition's records count only while it is open, and only those of its present opening."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.kafka.partitions import NO_LEADER, OUT_OF_RANGE, PartitionTable, Refusal

GONE = Refusal(OUT_OF_RANGE, 5, "gone", "orderflow offsets reset")
CHANGED = Refusal(OUT_OF_RANGE, 6, "changed", "orderflow offsets reset")
LEADERLESS = Refusal(NO_LEADER, None, "nobody leads it", "start its brokers")


def table_with(*partitions: int) -> PartitionTable:
    table = PartitionTable()
    table.assign(set(partitions))
    return table


def test_an_assigned_partition_is_wanted_until_it_is_opened() -> None:
    """Opening is what makes its records count."""
    table = table_with(2, 0)
    assert (table.assigned, table.wanted) == ([0, 2], [0, 2])
    opened = table.open(2, 40, epoch=1)
    assert opened is not None
    assert (table.wanted, table.next_offset(2), table.positions()) == ([0], 40, {2: 40})
    assert table.opened(2, opened.opening) is opened
    assert (opened.epoch, table.next_offset(0)) == (1, None)


def test_a_partition_that_was_revoked_meanwhile_is_not_opened() -> None:
    """Its offset was being read while the group took it away."""
    table = table_with(0)
    table.revoke({0})
    assert table.open(0, 5, 0) is None
    assert (table.assigned, table.wanted, table.positions()) == ([], [], {})


def test_a_chunk_of_an_earlier_opening_is_not_accepted() -> None:
    """A partition that comes back is another opening, even at the same offset."""
    table = table_with(0)
    first = table.open(0, 5, 0)
    table.revoke({0})
    table.assign({0})
    second = table.open(0, 5, 0)
    assert first is not None
    assert second is not None
    assert table.opened(0, first.opening) is None
    assert table.opened(0, second.opening) is second


def test_being_assigned_again_closes_a_partition() -> None:
    """Between the two, another worker may have moved the offset."""
    table = table_with(0, 1)
    for partition in (0, 1):
        table.open(partition, 5, 0)
    table.assign({0})
    assert (table.wanted, table.positions()) == ([0], {1: 5})


def test_a_fenced_partition_is_wanted_again() -> None:
    """It is still assigned, and has to be read anew."""
    table = table_with(0)
    table.open(0, 5, 0)
    table.close(0)
    assert (table.wanted, table.next_offset(0), table.refused) == ([0], None, {})


def test_a_refusal_is_news_once() -> None:
    """The same reason again is no news; another reason is."""
    table = table_with(0)
    table.open(0, 5, 0)
    assert table.refuse(0, GONE)
    assert not table.refuse(0, GONE)
    assert table.refuse(0, CHANGED)
    assert (table.refused, table.next_offset(0), table.wanted) == ({0: CHANGED}, None, [0])
    table.open(0, 9, 0)
    assert table.refused == {}
    assert table.refuse(0, GONE)


def test_what_is_opened_on_trial_stays_refused_until_it_is_well() -> None:
    """A batch that could not be read is fetched again now and then; that alone is no news, and mends nothing."""
    table = table_with(0)
    assert table.refuse(0, GONE)
    assert table.open(0, 5, 0, on_trial=True) is not None
    assert (table.refused, table.positions()) == ({0: GONE}, {0: 5})
    assert not table.refuse(0, GONE)
    table.open(0, 5, 0, on_trial=True)
    table.clear_refusal(0)
    assert (table.refused, table.positions()) == ({}, {0: 5})


def test_a_partition_in_trouble_stays_open() -> None:
    """One that has no leader for a while goes on by itself from where it was."""
    table = table_with(0)
    table.open(0, 5, 0)
    assert table.set_refusal(0, LEADERLESS)
    assert not table.set_refusal(0, LEADERLESS)
    assert (table.refused, table.positions()) == ({0: LEADERLESS}, {0: 5})


def test_a_partition_of_somebody_else_is_not_refused() -> None:
    """What was revoked is no longer this worker's trouble."""
    table = table_with(0)
    assert not table.refuse(1, GONE)
    assert table.refused == {}


def test_an_offset_only_moves_forward_and_only_for_its_opening() -> None:
    """A late report of an earlier opening changes nothing."""
    table = table_with(0)
    first = table.open(0, 5, 0)
    assert first is not None
    table.advance(0, first.opening, 9)
    table.advance(0, first.opening, 7)
    assert table.next_offset(0) == 9
    table.close(0)
    second = table.open(0, 6, 0)
    assert second is not None
    table.advance(0, first.opening, 50)
    assert table.next_offset(0) == 6


def test_what_the_table_hands_out_is_a_copy() -> None:
    """Nobody changes the table by changing an answer."""
    table = table_with(0)
    table.refuse(0, GONE)
    table.refused.clear()
    table.assigned.clear()
    table.positions()[0] = 1
    assert (table.refused, table.assigned, table.positions()) == ({0: GONE}, [0], {})


PARTITIONS = st.integers(0, 3)
GROUPS = st.sets(PARTITIONS, max_size=4)
OFFSETS = st.integers(0, 30)


class TableMachine(RuleBasedStateMachine):
    """Any sequence of what the group, the source and the writer may do, against a plain model."""

    @initialize()
    def begin(self) -> None:
        self.table = PartitionTable()
        self.assigned: set[int] = set()
        self.present: dict[int, int] = {}
        self.offsets: dict[int, int] = {}
        self.given: list[tuple[int, int]] = []
        self.reasons: dict[int, Refusal] = {}

    def _forget(self, partition: int) -> None:
        self.present.pop(partition, None)
        self.offsets.pop(partition, None)

    @rule(partitions=GROUPS)
    def assign(self, partitions: set[int]) -> None:
        self.table.assign(partitions)
        self.assigned |= partitions
        for partition in partitions:
            self._forget(partition)
            self.reasons.pop(partition, None)

    @rule(partitions=GROUPS)
    def revoke(self, partitions: set[int]) -> None:
        self.table.revoke(partitions)
        self.assigned -= partitions
        for partition in partitions:
            self._forget(partition)
            self.reasons.pop(partition, None)

    @rule(partition=PARTITIONS, offset=OFFSETS, epoch=st.integers(0, 2), on_trial=st.booleans())
    def open(self, partition: int, offset: int, epoch: int, on_trial: bool) -> None:
        opened = self.table.open(partition, offset, epoch, on_trial=on_trial)
        assert (opened is not None) == (partition in self.assigned)
        if opened is not None:
            assert (opened.next_offset, opened.epoch) == (offset, epoch)
            assert all(opened.opening != opening for _, opening in self.given), "an opening is never given twice"
            self.given.append((partition, opened.opening))
            self.present[partition] = opened.opening
            self.offsets[partition] = offset
            if not on_trial:
                self.reasons.pop(partition, None)

    @rule(partition=PARTITIONS)
    def well(self, partition: int) -> None:
        self.table.clear_refusal(partition)
        self.reasons.pop(partition, None)

    @rule(partition=PARTITIONS)
    def close(self, partition: int) -> None:
        self.table.close(partition)
        self._forget(partition)

    @rule(partition=PARTITIONS, reason=st.sampled_from([GONE, CHANGED]), closes=st.booleans())
    def refuse(self, partition: int, reason: Refusal, closes: bool) -> None:
        if closes:
            news = self.table.refuse(partition, reason)
            self._forget(partition)
        else:
            news = self.table.set_refusal(partition, reason)
        assert news == (partition in self.assigned and self.reasons.get(partition) != reason)
        if partition in self.assigned:
            self.reasons[partition] = reason

    @rule(data=st.data(), offset=OFFSETS)
    def advance(self, data: st.DataObject, offset: int) -> None:
        if not self.given:
            return
        partition, opening = data.draw(st.sampled_from(self.given))
        before = self.table.next_offset(partition)
        self.table.advance(partition, opening, offset)
        after = self.table.next_offset(partition)
        if self.present.get(partition) == opening:
            assert before is not None
            assert after == max(before, offset), "an offset never goes back within an opening"
            self.offsets[partition] = after
        else:
            assert after == before

    @invariant()
    def only_the_present_opening_is_accepted(self) -> None:
        for partition, opening in self.given:
            accepted = self.table.opened(partition, opening)
            assert (accepted is not None) == (self.present.get(partition) == opening)

    @invariant()
    def wanted_is_what_is_assigned_and_not_open(self) -> None:
        assert self.table.assigned == sorted(self.assigned)
        assert self.table.wanted == sorted(self.assigned - self.present.keys())
        assert self.present.keys() <= self.assigned

    @invariant()
    def offsets_and_refusals_are_those_of_the_model(self) -> None:
        assert self.table.positions() == self.offsets
        assert self.table.refused == self.reasons
        assert self.reasons.keys() <= set(self.table.assigned)


TestPartitionTable = TableMachine.TestCase
TestPartitionTable.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
