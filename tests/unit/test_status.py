"""A worker declares what it is doing: outages, draining and rest are states, a step past its deadline is trouble."""

import pytest

from engine.actors.status import State, Status, Step


def running() -> Status:
    status = Status(max_retries=3)
    status.started = True
    return status


def test_a_worker_starts_then_rests_then_works() -> None:
    """It is running while it is in a step, and idle between."""
    status = Status()
    assert status.state is State.STARTING
    status.started = True
    assert status.state is State.IDLE
    with status.step("write", 60):
        assert status.state is State.RUNNING
    assert status.state is State.IDLE


@pytest.mark.parametrize("of", ["postgres", "kafka"])
def test_an_outage_is_a_state_even_before_the_start(of: str) -> None:
    """It ends when what failed works again, and that is news once."""
    status = Status(max_retries=1)
    status.outage(of, 1)
    assert status.state is State.OUTAGE
    assert status.recovered(of)
    assert not status.recovered(of)
    assert status.state is State.STARTING


@pytest.mark.parametrize("of", ["redis", "dlq"])
def test_an_outage_of_what_ingest_can_do_without_is_not_the_workers(of: str) -> None:
    """The cache is not needed to take orders in; it is still told."""
    status = running()
    status.outage(of, 1)
    assert status.state is State.IDLE
    assert status.outages == {of: 1}
    status.outage("kafka", 3)
    assert status.state is State.OUTAGE


def test_an_outage_counts_from_the_set_number_of_tries_on() -> None:
    """The first failed tries are declared as such, and are no reason to call anybody yet."""
    status = running()
    seen = []
    for attempt in (1, 2, 3, 4):
        status.outage("postgres", attempt)
        seen.append(status.state)
    assert seen == [State.RETRYING, State.RETRYING, State.OUTAGE, State.OUTAGE]


@pytest.mark.parametrize("max_retries", [0, 1])
def test_without_retries_an_outage_counts_from_its_first_failure(max_retries: int) -> None:
    """Nought and one say the same: there is no outage without a failed try."""
    status = Status(max_retries)
    status.outage("kafka", 1)
    assert status.state is State.OUTAGE


def test_one_outage_with_many_tries_counts_once() -> None:
    """The number of tries is the latest one."""
    status = running()
    for attempt in (1, 2, 3):
        status.outage("postgres", attempt)
    assert (status.counters.outages, status.outages) == (1, {"postgres": 3})
    status.recovered("postgres")
    status.outage("postgres", 1)
    assert status.counters.outages == 2


def test_one_recovery_does_not_end_another_outage() -> None:
    """Each is declared by its own name."""
    status = running()
    status.outage("postgres", 3)
    status.outage("kafka", 1)
    assert status.recovered("kafka")
    assert status.state is State.OUTAGE


def test_a_member_id_is_news_once() -> None:
    """It is told at once when it changes: the supervisor removes that member when the worker dies."""
    status = Status()
    seen = []
    for member_id in (None, "a", "a", "b", None):
        status.beat_now.clear()
        status.joined_as(member_id)
        seen.append((status.member_id, status.beat_now.is_set()))
    assert seen == [(None, False), ("a", True), ("a", False), ("b", True), (None, True)]


def test_draining_is_said_before_all_else() -> None:
    """A worker that is leaving is leaving, outage or not."""
    status = running()
    status.outage("postgres", 1)
    status.draining = True
    assert status.state is State.DRAINING


def test_a_step_is_overdue_only_past_its_deadline() -> None:
    """At the deadline it is not late yet."""
    step = Step("write", started_s=100, deadline_s=60)
    assert [step.overdue_s(now_s) for now_s in (100, 160, 160.5, 170)] == [0, 0, 0.5, 10]


def test_the_overdue_step_is_named() -> None:
    """The supervisor reads it from the heartbeat; steps in time are not blamed."""
    status = running()
    with status.step("write", 60), status.step("open", 5):
        started_s = status.steps["open"].started_s
        assert status.overdue(started_s + 4) is None
        found = status.overdue(started_s + 6)
        assert found is not None
        assert found.name == "open"
    assert status.overdue(started_s + 1000) is None


def test_a_step_that_fails_has_ended() -> None:
    """An exception must not leave a step behind that then counts as stuck."""
    status = running()

    def fail() -> None:
        with status.step("write", 60):
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert status.steps == {}
