"""`orderflow dlq replay` without an engine: what it chooses, what it sends, and what it counts."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import asyncpg

from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.letters import FAILED_AT, letters, store_letter
from tests.support.programs import Programs
from tests.support.topic import receive
from tests.support.topic_admin import configure_topic


async def test_what_is_sent_is_the_original_message_to_its_original_partition(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Key, value and headers as they were, with its place and the count; an empty value is not a missing one."""
    own = [("trace", b"\xff\x00"), ("x-original-offset", b"a producer's own"), ("trace", b"")]
    headers = json.dumps([[name, b64encode(value).decode()] for name, value in own])
    stored = {"partition": 2, "headers": headers, "replay_count": 1, "settled_count": 1}
    await store_letter(database, settings, kafka_offset=57, key=None, payload=b"", **stored)
    await store_letter(database, settings, kafka_offset=58, key=b"\xff", payload=None, partition=2)
    await store_letter(database, settings, kafka_offset=59, key=None, payload=None, partition=2)
    await store_letter(database, settings, kafka_offset=1, payload=b"resolved", partition=2, resolved_at=FAILED_AT)
    assert (await orderflow.run("dlq", "replay", "--everything")).lines == ["Replayed 3 letters: invalid_order 3"]

    first, second, third = await receive(settings, settings.kafka_topic, 3, partition=2)
    assert (first.key, first.value) == (None, b"")
    assert list(first.headers) == [
        ("trace", b"\xff\x00"),
        ("trace", b""),
        ("x-original-topic", settings.kafka_topic.encode()),
        ("x-original-partition", b"2"),
        ("x-original-offset", b"57"),
        ("x-original-group", settings.kafka_group_id.encode()),
        ("x-replay-count", b"2"),
    ]
    assert (second.key, second.value) == (b"\xff", None)
    assert dict(second.headers)["x-replay-count"] == b"1"
    assert (third.key, third.value, dict(third.headers)["x-original-offset"]) == (None, None, b"59")
    counted = {
        letter["kafka_offset"]: (letter["replay_count"], letter["replayed_at"]) for letter in await letters(database)
    }
    assert [(offset, count) for offset, (count, _) in counted.items()] == [(1, 0), (57, 2), (58, 1), (59, 1)]
    assert counted[1][1] is None
    assert counted[57][1] is not None


async def test_a_dry_run_counts_and_sends_nothing(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """What would be sent, by reason; what is skipped, and why; and the real run does just that."""
    now = datetime.now(UTC)
    for offset in range(3):
        await store_letter(database, settings, kafka_offset=offset, partition=1)
    await store_letter(database, settings, kafka_offset=3, reason="invalid_json", partition=1)
    await store_letter(database, settings, kafka_offset=4, replay_count=5, settled_count=5)
    await store_letter(database, settings, kafka_offset=5, replay_count=1, replayed_at=now)
    await store_letter(database, settings, kafka_offset=6, replay_count=1, replayed_at=now - timedelta(days=1))
    await store_letter(database, settings, kafka_offset=7, partition=99)
    before = await letters(database)

    dry = await orderflow.run("dlq", "replay", "--dry-run")
    assert dry.lines[0] == "Would replay 5 letters: invalid_order 4, invalid_json 1"
    assert sorted(dry.lines[1:]) == [
        "Skipped 1 letter: on the way to the engine",
        "Skipped 1 letter: replayed 5 times already",
        "Skipped 1 letter: the topic no longer has the partition",
    ]
    few = await orderflow.run("dlq", "replay", "--dry-run", "--reason", "invalid_order", "--max", "2")
    assert few.lines[0] == "Would replay 2 letters: invalid_order 2"
    assert few.lines[-1] == "Left out 2 letters: more than --max"
    assert await letters(database) == before

    real = await orderflow.run("dlq", "replay", "--everything")
    assert real.lines[-1].startswith("Replayed 5 letters: ")
    assert sorted(real.lines[:-1]) == sorted(dry.lines[1:])
    sent = await receive(settings, settings.kafka_topic, 4, partition=1)
    assert [dict(record.headers)["x-original-offset"] for record in sent] == [b"0", b"1", b"2", b"3"]
    again = await orderflow.run("dlq", "replay", "--everything")
    assert "Skipped 6 letters: on the way to the engine" in again.lines
    assert again.lines[-1] == "Replayed 0 letters"


async def test_letters_are_chosen_by_reason_uid_time_and_place(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """As `dlq list` does; a place without an unresolved letter is an error, and nothing is sent then."""
    now = datetime.now(UTC)
    for offset, (reason, hours, uid) in enumerate(
        [("invalid_json", 5, "x"), ("invalid_order", 3, "x"), ("invalid_json", 1, "y")]
    ):
        failed_at = now - timedelta(hours=hours)
        await store_letter(database, settings, kafka_offset=offset, reason=reason, subject=uid, failed_at=failed_at)

    async def chosen(*arguments: str) -> str:
        return (await orderflow.run("dlq", "replay", "--dry-run", *arguments)).lines[0]

    assert await chosen("--reason", "invalid_json") == "Would replay 2 letters: invalid_json 2"
    assert await chosen("--uid", "x", "--reason", "invalid_json") == "Would replay 1 letter: invalid_json 1"
    assert await chosen("--since", "4h") == "Would replay 2 letters: invalid_json 1, invalid_order 1"
    assert await chosen("--until", "4h") == "Would replay 1 letter: invalid_json 1"
    assert await chosen("0:1", "0:2") == "Would replay 2 letters: invalid_json 1, invalid_order 1"
    assert await chosen("--reason", "empty_message") == "Would replay 0 letters"
    missing = await orderflow.run("dlq", "replay", "0:1", "0:3")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no unresolved letter at 0:3" in missing.stderr
    assert {letter["replay_count"] for letter in await letters(database)} == {0}
    assert (await orderflow.run("dlq", "replay", "0:1", "--force")).lines == ["Replayed 1 letter: invalid_order 1"]
    [record] = await receive(settings, settings.kafka_topic, 1)
    assert dict(record.headers)["x-replay-force"] == b"true"


async def test_only_what_the_broker_acknowledged_is_counted(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A letter that the topic no longer takes does not count as replayed, its neighbours do, and the exit code is 1."""
    await configure_topic(settings, settings.kafka_topic, max_message_bytes="2000")
    for offset, size in enumerate([10, 5000, 10]):
        await store_letter(database, settings, kafka_offset=offset, payload=b"x" * size)
    ran = await orderflow.run("dlq", "replay", "--everything", timeout_s=60)
    assert ran.returncode == 1
    assert ran.lines == ["Replayed 2 letters: invalid_order 2"]
    assert "1 of 3 letters were not acknowledged: MessageSizeTooLarge (1)" in ran.stderr
    assert [letter["replay_count"] for letter in await letters(database)] == [1, 0, 1]


async def test_without_the_topic_nothing_can_be_replayed(orderflow: Programs) -> None:
    """Exit code 3, and the command that mends it."""
    ran = await orderflow.run("dlq", "replay", "--everything", KAFKA_TOPIC="missing")
    assert ran.returncode == 3
    assert "orderflow topics create" in ran.stderr


async def test_a_letter_too_large_for_its_topic_is_kept_and_can_be_replayed(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """It is listed as such, holds up nobody, and a replay that is rejected again ends there too."""
    await configure_topic(settings, settings.kafka_dlq_topic, max_message_bytes="100000")
    await store_letter(database, settings, kafka_offset=1000, payload=b"x" * 200_000)
    await store_letter(database, settings, kafka_offset=1001, payload=b"small")
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("dead_letter_too_large")
    await engine.wait_for("dead_letter_published", offset=1001)

    async def states() -> list[str]:
        found = json.loads((await orderflow.run("dlq", "list", "--json")).stdout)
        return [letter["state"] for letter in sorted(found, key=lambda letter: letter["offset"])]

    await eventually(states, lambda found: found == ["too large", "published"])
    assert (await orderflow.run("dlq", "replay", "0:1000")).lines == ["Replayed 1 letter: invalid_order 1"]
    await engine.wait_for("dead_letters_replayed", rejected=1)
    await engine.wait_for("dead_letter_too_large", count=2)
    await eventually(states, lambda found: found == ["too large", "published"])
    assert [letter["replay_count"] for letter in await letters(database)] == [1, 0]
    assert await engine.stop() == 0
