"""`orderflow dlq list` and `show`: an operator finds what was rejected, and why, without seeing personal data."""

import gzip
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.start.settings import Settings
from tests.support.letters import FAILED_AT, store_letter
from tests.support.programs import Finished, Programs

CANARY = "canary-79990001122"


def listed(finished: Finished) -> list[dict[str, Any]]:
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert isinstance(found, list)
    return found


def offsets(finished: Finished) -> list[int]:
    return [letter["offset"] for letter in listed(finished)]


async def test_letters_are_listed_with_those_that_failed_last_first(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A line each with its place, time, reason, uid and state; resolved ones on demand; never what a message held."""
    old = {"failed_at": FAILED_AT - timedelta(days=1)}
    await store_letter(database, settings, kafka_offset=1, key=CANARY.encode(), payload=CANARY.encode(), **old)
    await store_letter(database, settings, kafka_offset=2, subject="uid\x1b[2J\n2", published_at=FAILED_AT)
    await store_letter(database, settings, kafka_offset=3, resolved_at=FAILED_AT, published_at=FAILED_AT)
    large = {"publish_error": "too large for the dead-letter topic", "reason": "invalid_json", "errors": "[]"}
    await store_letter(database, settings, partition=3, kafka_offset=57, replay_count=2, **large)
    await store_letter(database, settings, topic="another", kafka_offset=9)

    told = await orderflow.run("dlq", "list")
    topic = settings.kafka_topic
    assert told.lines == [
        f"{topic} 3:57  2026-03-04 05:06:07 UTC  invalid_json  -  0 errors  2 replays  too large",
        f"{topic} 0:2  2026-03-04 05:06:07 UTC  invalid_order  uid\\x1b[2J\\n2  1 error  0 replays  published",
        f"{topic} 0:1  2026-03-03 05:06:07 UTC  invalid_order  -  1 error  0 replays  waiting",
    ]
    assert told.stderr == "3 letters: invalid_order 2, invalid_json 1\n"
    assert CANARY not in told.stdout
    everything = await orderflow.run("dlq", "list", "--all", "--max", "2")
    assert [line.split("  ")[0] for line in everything.lines] == [f"{topic} 3:57", f"{topic} 0:3"]
    assert everything.stderr == "4 letters: invalid_order 3, invalid_json 1\n2 more are not shown (--max 2)\n"

    whole = await orderflow.run("dlq", "list", "--all", "--json")
    assert offsets(whole) == [57, 3, 2, 1]
    assert [letter["state"] for letter in listed(whole)] == ["too large", "resolved", "published", "waiting"]
    assert listed(whole)[3] == {
        "topic": topic,
        "partition": 0,
        "offset": 1,
        "failed_at": "2026-03-03T05:06:07.890123Z",
        "reason": "invalid_order",
        "order_uid": None,
        "error_count": 1,
        "replay_count": 0,
        "replayed_at": None,
        "state": "waiting",
    }
    assert CANARY not in whole.stdout


async def test_a_list_is_narrowed_by_reason_uid_and_time(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each filter narrows, together they narrow more, and times are absolute or so long ago."""
    now = datetime.now(UTC)
    for offset, (reason, hours, uid) in enumerate(
        [("invalid_json", 5, "x"), ("invalid_order", 3, "x"), ("invalid_json", 1, "y"), ("empty_message", 0, None)]
    ):
        failed_at = now - timedelta(hours=hours)
        await store_letter(database, settings, kafka_offset=offset, reason=reason, subject=uid, failed_at=failed_at)

    async def found(*arguments: str) -> list[int]:
        return offsets(await orderflow.run("dlq", "list", "--json", *arguments))

    assert await found() == [3, 2, 1, 0]
    assert await found("--reason", "invalid_json") == [2, 0]
    assert await found("--reason", "invalid_json", "--reason", "empty_message") == [3, 2, 0]
    assert await found("--uid", "x") == [1, 0]
    assert await found("--uid", "x", "--reason", "invalid_json") == [0]
    assert await found("--since", "4h", "--until", "30m") == [2, 1]
    assert await found("--until", (now - timedelta(hours=3)).isoformat()) == [0]
    assert await found("--since", (now - timedelta(hours=3)).isoformat().replace("+00:00", "Z")) == [3, 2, 1]
    assert await found("--reason", "refused_by_database") == []


async def test_a_letter_is_shown_whole_and_its_payload_only_on_demand(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """All errors with their paths, and times; what came in the message on demand, in base64 where it is no text."""
    errors = [{"path": "", "message": "is odd"}, {"path": "items[0].price", "message": "must be from 0 to 2147483647"}]
    headers = [["trace", b64encode(CANARY.encode()).decode()], ["raw", b64encode(b"\xff").decode()]]
    payload = {"key": b"\xff\x00", "payload": f'{{"name": "{CANARY}"}}'.encode()}
    text = {"errors": json.dumps(errors), "headers": json.dumps(headers), "subject": "uid-1"}
    await store_letter(database, settings, partition=2, kafka_offset=5, **text, **payload)

    shown = await orderflow.run("dlq", "show", "2:5", "--json")
    assert shown.returncode == 0
    assert CANARY not in shown.stdout
    letter = json.loads(shown.stdout)
    assert letter["errors"] == errors
    assert letter["headers"] == 2
    assert (letter["partition"], letter["offset"], letter["order_uid"]) == (2, 5, "uid-1")
    assert (letter["batch_id"], letter["consumer_group"]) == (str(UUID(int=7)), settings.kafka_group_id)
    assert letter["payload_bytes"] == len(payload["payload"])
    assert letter.pop("shape") == {"name": "••• text"}
    whole = json.loads((await orderflow.run("dlq", "show", "2:5", "--json", "--payload")).stdout)
    told = [{"name": "trace", "value": CANARY}, {"name": "raw", "value_base64": "/w=="}]
    assert whole == {**letter, "headers": told, "key_base64": "/wA=", "payload": payload["payload"].decode()}

    plain = await orderflow.run("dlq", "show", "2:5")
    assert CANARY not in plain.stdout
    for line in ("reason: invalid_order", "  items[0].price: must be from 0 to 2147483647", "  (the message): is odd"):
        assert line in plain.lines
    revealed = await orderflow.run("dlq", "show", "2:5", "--payload")
    assert CANARY in revealed.stdout
    assert "headers: 2" in plain.lines
    assert "headers: 2" in revealed.lines


async def test_what_a_letter_without_json_looks_like_is_told(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """In a line for people, and for programs; never with what it holds."""
    await store_letter(database, settings, payload=gzip.compress(CANARY.encode()), reason="invalid_json")
    assert "looks_like: gzip; begins with 1f 8b" in (await orderflow.run("dlq", "show", "0:0")).lines
    letter = json.loads((await orderflow.run("dlq", "show", "0:0", "--json")).stdout)
    assert letter["looks_like"] == "gzip; begins with 1f 8b"
    assert "shape" not in letter


async def test_a_letter_that_is_not_there_is_an_error(orderflow: Programs, settings: Settings) -> None:
    """Exit code 1, and nothing on standard output."""
    told = await orderflow.run("dlq", "show", "0:12345")
    assert (told.returncode, told.stdout) == (1, "")
    assert f"there is no dead letter at 0:12345 of the topic '{settings.kafka_topic}': " in told.stderr
    assert "`orderflow dlq list --all` lists" in told.stderr


async def test_a_reason_is_one_of_orders_or_one_that_a_letter_has(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Another pipeline on the engine has reasons of its own; a mistyped one is wrong usage, not an empty list."""
    await store_letter(database, settings, reason="invalid_page_view", resolved_at=FAILED_AT, published_at=FAILED_AT)
    await store_letter(database, settings, reason="of_another_topic", topic="another")
    assert offsets(await orderflow.run("dlq", "list", "--json", "--reason", "invalid_page_view", "--all")) == [0]
    assert offsets(await orderflow.run("dlq", "list", "--json", "--reason", "refused_by_database")) == []
    for command in ("list", "replay"):
        for reason in ("invalid_page_wiev", "of_another_topic"):
            refused = await orderflow.run("dlq", command, "--reason", "invalid_json", "--reason", reason)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert refused.stderr == (
                f"orderflow: Invalid value for '--reason': '{reason}' is not one of empty_message, invalid_json, "
                f"invalid_order, invalid_page_view, refused_by_database. See `orderflow dlq {command} --help`\n"
            )
