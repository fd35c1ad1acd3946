"""`orderflow dlq` refuses what it does not understand before it connects to anything."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from engine.dead_letters.list import Selection, parse_place, state_of
from handlers.moments import parse_moment
from orderflow.commands.dlq import dlq

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("list --since yesterday", "must be an RFC 3339 time such as"),
        ("list --until 2026-01-31T12:00:00", "must be an RFC 3339 time such as"),
        ("list --max 0", "'0' must be a whole number from 1 to 100,000"),
        ("list --max 99999999999999999999", "must be a whole number from 1 to 100,000"),
        ("replay --max many", "'many' must be a whole number of at least 1"),
        ("list --uid \udcff", "must be UTF-8"),
        ("list --uid=", "must not be empty"),
        ("list --reason=", "must not be empty"),
        ("list --since 1h --until 2h", "--since must be before --until"),
        ("show", "Missing argument 'PLACE'"),
        ("show 57", "must be a partition and an offset, such as 2:57"),
        ("show 1:99999999999999999999", "must be a partition and an offset, such as 2:57"),
        ("replay", "choose letters"),
        ("replay --force", "choose letters"),
        ("replay --max 5", "choose letters"),
        ("replay --everything --reason invalid_json", "--everything cannot be combined with a filter"),
        ("replay 1:5 --everything", "--everything cannot be combined with a filter"),
        ("replay 1:5 2", "must be a partition and an offset, such as 2:57"),
    ],
)
def test_wrong_usage_is_told_so(arguments: str, told: str) -> None:
    """Exit code 2; above all, nobody replays everything by accident."""
    result = CliRunner().invoke(dlq, arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800), ("1w", 604_800), ("0s", 0)],
)
def test_a_moment_may_be_so_long_ago(text: str, ago: int) -> None:
    """In seconds, minutes, hours, days or weeks."""
    assert parse_moment(text, NOW) == NOW - timedelta(seconds=ago)


@given(moment=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.timezones()))
def test_a_moment_may_be_an_rfc_3339_time(moment: datetime) -> None:
    """Whatever its zone, to the microsecond."""
    try:
        text = moment.isoformat()
        assert parse_moment(text, NOW) == datetime.fromisoformat(text)
    except ValueError:
        assert moment.utcoffset() is not None
        assert moment.utcoffset().total_seconds() % 60  # type: ignore[union-attr]  # RFC 3339 has no such zones


@given(text=st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]{1,12}[a-z]?", fullmatch=True)))
def test_any_other_moment_is_a_value_error(text: str) -> None:
    """Never anything else, however long ago the text says."""
    with suppress(ValueError):
        assert parse_moment(text, NOW) <= NOW


@given(partition=st.integers(0, 2**31 - 1), offset=st.integers(0, 2**63 - 1))
def test_every_place_that_a_letter_can_have_is_understood(partition: int, offset: int) -> None:
    """As it is printed."""
    assert parse_place(f"{partition}:{offset}") == (partition, offset)


@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_other_place_is_a_value_error(text: str) -> None:
    """What is taken are numbers that PostgreSQL's columns hold."""
    try:
        partition, offset = parse_place(text)
    except ValueError:
        return
    assert 0 <= partition < 2**31
    assert 0 <= offset < 2**63


@pytest.mark.parametrize("narrowing", [{"reasons": ("a",)}, {"uids": ("a",)}, {"since": NOW}, {"places": ((0, 1),)}])
def test_a_selection_knows_whether_it_narrows(narrowing: dict[str, object]) -> None:
    """Letters that are resolved are no choice among those that are not."""
    assert Selection(**narrowing).narrowed  # type: ignore[arg-type]
    assert not Selection().narrowed
    assert not Selection(resolved_too=True).narrowed


@pytest.mark.parametrize(
    ("published", "error", "resolved", "state"),
    [
        (None, None, None, "waiting"),
        (NOW, None, None, "published"),
        (None, "too large for the dead-letter topic", None, "too large"),
        (None, "refused by the dead-letter topic: invalid record", None, "refused"),
        (None, "replayed more than 5 times", None, "given up"),
        (NOW, None, NOW, "resolved"),
        (None, "too large for the dead-letter topic", NOW, "resolved"),
    ],
)
def test_a_letter_is_in_one_state(
    published: datetime | None, error: str | None, resolved: datetime | None, state: str
) -> None:
    """Once it is resolved it does not matter where it had got to."""
    assert state_of({"published_at": published, "publish_error": error, "resolved_at": resolved}) == state
