"""`orderflow trace`: what it refuses, and how it tells a story."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from handlers.story import MESSAGE, REPEAT, REPLAY, STEPS, Letter, Source, Story, StoryStep, WrittenBy
from orderflow.commands.trace import describe, trace

BEGAN = datetime(2026, 3, 4, 5, 6, 7, 100_999, tzinfo=UTC)
SOURCE = Source(topic="orders", partition=2, offset=57, epoch=0, produced_at=BEGAN, came_as=MESSAGE)
BATCH = WrittenBy(
    topic="orders",
    consumer_group="a-group",
    worker="worker-1",
    host="a-host",
    messages=9,
    inserted=6,
    changed=1,
    unchanged=0,
    rejected=2,
)
LETTER = Letter(
    topic="orders",
    partition=1,
    offset=5,
    reason="invalid_order",
    produced_at=BEGAN,
    failed_at=BEGAN,
    replay_count=1,
    replayed_at=None,
    resolved_at=None,
)


def step(name: str, milliseconds: int) -> StoryStep:
    at = BEGAN + timedelta(milliseconds=milliseconds)
    return StoryStep(
        step=name, at=at, after_ms=None if name == "published" else 1234.5, since_published_ms=milliseconds
    )


def story(**changes: Any) -> Story:
    told = Story(
        order_uid="uid\x1b[2J",
        stored=True,
        created_at=BEGAN,
        updated_at=BEGAN,
        trace_id=None,
        batch_id=UUID(int=8),
        batch=BATCH,
        source=SOURCE,
        steps=[step(name, number) for number, name in enumerate(STEPS)],
        dead_letters=[],
        more_dead_letters=False,
    )
    return replace(told, **changes)


@pytest.mark.parametrize(
    ("uid", "told"),
    [
        ("a" * 513, "must be 1 to 512 bytes"),
        ("ж" * 257, "must be 1 to 512 bytes"),
        ("a\x00b", "must be 1 to 512 bytes of UTF-8 without NUL"),
        ("", "must be 1 to 512 bytes"),
        ("\udcff", "must be UTF-8"),
    ],
)
def test_what_no_order_can_have_as_its_uid_is_refused(uid: str, told: str) -> None:
    """Exit code 2, before it connects to anything."""
    result = CliRunner().invoke(trace, [uid])
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_uid_is_asked_for() -> None:
    result = CliRunner().invoke(trace, [])
    assert result.exit_code == 2
    assert "Missing argument 'UID'" in result.stderr


def test_a_whole_story_is_a_timeline() -> None:
    """Times in UTC to the millisecond, what each step took, and where to look further."""
    assert list(describe(story())) == [
        r"order        uid\x1b[2J",
        "  published  2026-03-04 05:06:07.100 UTC",
        "  consumed   2026-03-04 05:06:07.101 UTC    +1,234.500 ms",
        "  validated  2026-03-04 05:06:07.102 UTC    +1,234.500 ms",
        "  committed  2026-03-04 05:06:07.103 UTC    +1,234.500 ms",
        "  cached     2026-03-04 05:06:07.104 UTC    +1,234.500 ms",
        "stored       2026-03-04 05:06:07.100 UTC",
        "message      orders 2:57",
        "batch        00000000-0000-0000-0000-000000000008  9 messages: 6 inserted, 1 changed, 0 unchanged, 2 rejected",
        "worker       worker-1 on a-host, group a-group",
    ]


def test_differences_of_any_size_stay_in_their_column() -> None:
    """A message dated 1970, or 9999, was consumed years later, or before; what clocks make of it is said."""
    differences = (None, 1_795_877_409_095.833, -253_370_764_800_000.0, -1.801, 86_399_000.0)
    steps = [replace(step(name, 0), after_ms=each) for name, each in zip(STEPS, differences, strict=True)]
    lines = list(describe(story(steps=steps)))
    assert [line.partition("UTC")[2] for line in lines[1:6]] == [
        "",
        "     +20,785.6 days",
        "  -2,932,532.0 days",
        "        -1.801 ms",
        "   +86,399.000 s",
    ]
    assert lines[6] == "clocks       a step is earlier than the previous one: the clocks of the machines differ"
    assert not [line for line in describe(story()) if line.startswith("clocks")]


def test_a_change_is_told_from_the_first_version() -> None:
    [changed] = [line for line in describe(story(updated_at=BEGAN + timedelta(days=1))) if line.startswith("changed")]
    assert changed == "changed      2026-03-05 05:06:07.100 UTC; the steps are those of this change"


@pytest.mark.parametrize(
    ("came_as", "told"),
    [
        (REPLAY, "a replayed dead letter"),
        (REPEAT, "it repeats the stored order; the message that was stored is unknown"),
        (None, "the latest message, which may repeat the stored order"),
    ],
)
def test_what_the_latest_message_is_is_said(came_as: str | None, told: str) -> None:
    [message] = [
        line for line in describe(story(source=replace(SOURCE, came_as=came_as))) if line.startswith("message")
    ]
    assert message == f"message      orders 2:57, published 2026-03-04 05:06:07.100 UTC: {told}"


def test_a_message_without_a_timestamp_was_published_nobody_knows_when() -> None:
    """Not in 1970: of the latest message, and of a dead letter."""
    source, letter = replace(SOURCE, produced_at=None, came_as=REPEAT), replace(LETTER, produced_at=None)
    lines = list(describe(story(source=source, dead_letters=[letter])))
    [message] = [line for line in lines if line.startswith("message")]
    assert message.startswith("message      orders 2:57, published unknown: it repeats the stored order")
    assert lines[-1].startswith("  orders 1:5  invalid_order  published unknown  failed 2026-03-04")


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    """And what may still come, that it has not come yet."""
    unknown = [StoryStep(step=name, at=None, after_ms=None, since_published_ms=None) for name in STEPS]
    lines = list(describe(story(batch=None, source=None, steps=unknown)))
    assert lines[1:6] == [f"  {name:9}  unknown" for name in STEPS]
    assert lines[-1] == "batch        00000000-0000-0000-0000-000000000008  no longer kept"
    assert list(describe(story(steps=unknown)))[5] == "  cached     not yet"


def test_an_order_that_was_only_ever_rejected_is_told_by_its_dead_letters() -> None:
    resolved = replace(LETTER, replay_count=2, resolved_at=BEGAN)
    rejected = story(
        stored=False,
        created_at=None,
        updated_at=None,
        trace_id=None,
        batch_id=None,
        batch=None,
        source=None,
        steps=[],
        dead_letters=[LETTER, resolved],
    )
    published = "published 2026-03-04 05:06:07.100 UTC  failed 2026-03-04 05:06:07.100 UTC"
    assert list(describe(rejected)) == [
        r"order        uid\x1b[2J",
        "it is not stored: only its dead letters are known",
        "dead letters (why: orderflow dlq show PARTITION:OFFSET)",
        f"  orders 1:5  invalid_order  {published}  1 replay  not resolved",
        f"  orders 1:5  invalid_order  {published}  2 replays  resolved 2026-03-04 05:06:07.100 UTC",
    ]
