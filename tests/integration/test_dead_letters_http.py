"""Dead letters over HTTP, on real PostgreSQL and Kafka: lists, one letter masked, and replays with the admin token."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
import attrs
import pytest
from lookup.letters.turn import _LOCK
from structlog.testing import capture_logs

from orderflow.publishing.orders import OrderGenerator
from orderflow.services import ServiceSet
from orderflow.start.address import Address
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.letters import FAILED_AT, letters, message, store_letter
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Running
from tests.support.tcp_proxy import tcp_proxy
from tests.support.topic import receive, send
from tests.support.topic_admin import configure_topic

TOKEN = "the admin's token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
READ_ONLY = {"error": "read_only", "allowed": "only reading, until ADMIN_TOKEN is set"}
UNAUTHORIZED = {
    "error": "unauthorized",
    "allowed": "the header Authorization: Bearer, with the token that ADMIN_TOKEN sets",
}
CANARY = "canary-somebody@example.com"


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings, admin_token=TOKEN) as running:
        yield running


async def get(server: LookupServer, path: str, headers: Any = None, **parameters: Any) -> tuple[int, Any]:
    async with server.client.get(f"/dead-letters/{path}", params=parameters, headers=headers) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


async def post(server: LookupServer, path: str, body: Any, headers: Any = ADMIN) -> tuple[int, Any]:
    async with server.client.post(f"/dead-letters/{path}", json=body, headers=headers) as answer:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status, await answer.json()


async def offsets(server: LookupServer, **parameters: Any) -> list[int]:
    status, found = await get(server, "list", **parameters)
    assert status == 200, found
    return [letter["offset"] for letter in found["letters"]]


async def test_the_letters_that_failed_last_come_first(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each line says where and why, and nothing of what the message held; counts go with the same filters."""
    payload = {"payload": CANARY.encode(), "key": CANARY.encode(), "headers": json.dumps([[CANARY, ""]])}
    await store_letter(database, settings, kafka_offset=1, failed_at=FAILED_AT - timedelta(days=1), **payload)
    await store_letter(database, settings, kafka_offset=2, reason="invalid_json", subject="uid-2", **payload)
    await store_letter(database, settings, kafka_offset=3, resolved_at=FAILED_AT, published_at=FAILED_AT, **payload)
    await store_letter(database, settings, topic="another", kafka_offset=9)

    status, found = await get(server, "list")
    assert (status, found["next"]) == (200, None)
    assert CANARY not in json.dumps(found)
    assert [letter["offset"] for letter in found["letters"]] == [2, 1]
    assert found["letters"][0] == {
        "topic": settings.kafka_topic,
        "partition": 0,
        "offset": 2,
        "failed_at": "2026-03-04T05:06:07.890123Z",
        "reason": "invalid_json",
        "order_uid": "uid-2",
        "error_count": 1,
        "replay_count": 0,
        "replayed_at": None,
        "state": "waiting",
    }
    assert await offsets(server, state="all") == [3, 2, 1]
    assert await offsets(server, reason="invalid_order") == [1]
    assert await offsets(server, order_uid="uid-2") == [2]
    assert await offsets(server, until="2026-03-04T00:00:00Z") == [1]
    assert await offsets(server, since="2026-03-04T00:00:00Z", reason="invalid_order") == []

    counted = {"counts": {"invalid_json": 1, "invalid_order": 1}, "total": 2, "complete": True}
    assert await get(server, "counts") == (200, counted)
    everything = (await get(server, "counts", state="all"))[1]
    assert everything["counts"] == {"invalid_order": 2, "invalid_json": 1}
    wrong = await get(server, "counts", reason="invalid")
    assert (wrong[0], wrong[1]["parameter"]) == (400, "reason")
    assert (await get(server, "list", reason="invalid"))[0] == 400


async def test_every_letter_is_on_one_page(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Also those of one batch, which failed at the same instant, while others arrive."""
    for offset in range(25):
        failed_at = FAILED_AT + timedelta(seconds=offset // 10)
        await store_letter(database, settings, partition=offset % 3, kafka_offset=offset, failed_at=failed_at)
    seen: list[int] = []
    before: dict[str, str] = {}
    while True:
        _, page = await get(server, "list", limit=4, **before)
        seen += [letter["offset"] for letter in page["letters"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
        await store_letter(database, settings, kafka_offset=1000 + len(seen), failed_at=FAILED_AT + timedelta(days=1))
    assert sorted(seen) == list(range(25))


async def test_no_list_reads_what_is_resolved(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Among 160,000 letters everything takes a moment; more than 100,000 are not counted, and the answer says so."""
    await database.execute(
        """
        INSERT INTO dead_letters (topic, partition, kafka_offset, payload, reason, errors, produced_at, failed_at,
                                  batch_id, consumer_group, resolved_at)
        SELECT $1, 0, n, '', 'invalid_order', '[]', now(), now() - n * interval '1 second', gen_random_uuid(), $2,
               CASE WHEN n < 50000 THEN now() END
        FROM generate_series(1, 160000) AS n
        """,
        settings.kafka_topic,
        settings.kafka_group_id,
    )
    await database.execute("ANALYZE dead_letters")
    for parameters in ({}, {"reason": "invalid_json"}, {"state": "all"}, {"before": "1700000000000000.0.1"}):
        began = perf_counter()
        await offsets(server, **parameters)
        assert perf_counter() - began < 0.5, parameters
    began = perf_counter()
    _, counted = await get(server, "counts")
    assert (counted["total"], counted["complete"]) == (100_000, False)
    _, plan = await post(server, "replay", {"dry_run": True})
    assert (plan["total"], plan["complete"], plan["skipped"]) == (100_000, False, {})
    assert perf_counter() - began < 2


async def test_a_letter_is_shown_masked_and_as_it_is_to_whoever_has_the_token(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """All errors with their paths and the message's outline for everybody; what it says with `reveal=1` alone."""
    errors = [{"path": "", "message": "is odd"}, {"path": "delivery.email", "message": "must be a string"}]
    headers = [["trace", b64encode(CANARY.encode()).decode()], ["raw", b64encode(b"\xff").decode()]]
    payload = json.dumps({"order_uid": "uid-1", "delivery": {"email": CANARY, CANARY: 5}, "items": [None]})
    text = {"errors": json.dumps(errors), "headers": json.dumps(headers), "subject": "uid-1"}
    stored = {"partition": 2, "kafka_offset": 57, "key": CANARY.encode(), "payload": payload.encode(), **text}
    await store_letter(database, settings, **stored)

    status, masked = await get(server, "2/57")
    assert status == 200
    assert CANARY not in json.dumps(masked)
    assert masked["errors"] == errors
    assert masked["shape"] == {
        "order_uid": "••• text, length 5",
        "delivery": {"email": "••• text", "•••": "••• number"},
        "items": [None],
    }
    assert (masked["headers"], masked["payload_bytes"], masked["on_its_way"]) == (2, len(payload), False)
    assert (masked["batch_id"], masked["state"], masked["replay_count"]) == (str(UUID(int=7)), "waiting", 0)
    assert await get(server, "2/57", headers=ADMIN) == (200, masked)

    assert await get(server, "2/57", reveal=1) == (401, UNAUTHORIZED)
    with capture_logs() as lines:
        status, whole = await get(server, "2/57", headers=ADMIN, reveal=1)
    assert (whole["payload"], whole["key"]) == (payload, CANARY)
    assert whole["headers"] == [{"name": "trace", "value": CANARY}, {"name": "raw", "value_base64": "/w=="}]
    assert [line["letter"] for line in lines if line["event"] == "dead_letter_revealed"] == ["2:57"]
    assert CANARY not in str(lines)
    assert TOKEN not in str(lines)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (None, None),
        (b"", None),
        (b'{"name": "' + CANARY.encode(), "JSON with an error"),
        (b"\xff" + CANARY.encode(), "text"),
    ],
)
async def test_of_bad_json_only_the_size_is_shown_and_what_it_looks_like(
    server: LookupServer, settings: Settings, database: asyncpg.Connection, payload: bytes | None, words: str | None
) -> None:
    """With the token, what is no text is in base64."""
    await store_letter(database, settings, reason="invalid_json", payload=payload)
    _, masked = await get(server, "0/0")
    assert "shape" not in masked
    assert masked.get("looks_like") == words
    assert masked["payload_bytes"] == len(payload or b"")
    assert CANARY not in json.dumps(masked)
    _, whole = await get(server, "0/0", headers=ADMIN, reveal=1)
    if payload == b"\xff" + CANARY.encode():
        assert whole["payload_base64"] == b64encode(payload).decode()
    else:
        assert whole["payload"] == (None if payload is None else payload.decode())


async def test_a_place_without_a_letter_tells_whether_it_was_consumed(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """So that whoever sent a mended message learns that it was accepted."""
    await database.execute(
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ($1, $2, 1, 5)",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    for path, consumed in (("1/4", True), ("1/5", False), ("0/4", False), (f"1/{'9' * 30}", False)):
        assert await get(server, path) == (404, {"error": "letter_not_found", "consumed": consumed})


async def test_without_a_token_of_the_server_nothing_can_be_written(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """403 whatever is presented, and nothing is sent; reading goes on."""
    await store_letter(database, settings)
    async with lookup_server(settings) as server:
        assert await get(server, "access") == (200, {"read_only": True, "authorized": False})
        assert (await get(server, "0/0"))[0] == 200
        assert await get(server, "0/0", reveal=1, headers=ADMIN) == (403, READ_ONLY)
        for path, body in (
            ("replay", {"expected": 1}),
            ("0/0/replay", {}),
            ("0/0/send", {"payload": "{}"}),
        ):
            for headers in (ADMIN, {"Authorization": "Bearer "}, {}):
                assert await post(server, path, body, headers) == (403, READ_ONLY)
    assert (await letters(database))[0]["replay_count"] == 0


async def test_a_wrong_token_is_refused(server: LookupServer, settings: Settings, database: asyncpg.Connection) -> None:
    """With a challenge, before the body is read, and the token is not logged."""
    await store_letter(database, settings)
    with capture_logs() as lines:
        for headers in ({}, {"Authorization": "Bearer wrong-secret"}, {"Authorization": f"Basic {TOKEN}"}):
            async with server.client.post("/dead-letters/replay", json={"expected": 1}, headers=headers) as answer:
                assert (answer.status, await answer.json()) == (401, UNAUTHORIZED)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert await get(server, "access", headers={"Authorization": "Bearer x"}) == (401, UNAUTHORIZED)
    assert "wrong-secret" not in str(lines)
    assert TOKEN not in str(lines)
    assert await get(server, "access") == (200, {"read_only": False, "authorized": False})
    assert await get(server, "access", headers=ADMIN) == (200, {"read_only": False, "authorized": True})


async def test_bodies_are_json_within_bounds(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Only the mended message may be large; other routes keep their bound."""
    await store_letter(database, settings)
    small, large = b'{"expected": 0' + b" " * 1100 + b"}", b'{"payload": "' + b"x" * (2 << 20) + b" " * 2000 + b' x"'
    for path, body, kind, refused in (
        ("replay", b"{}", "text/plain", (415, "unsupported_media_type")),
        ("replay", b"{", "application/json", (400, "invalid_body")),
        ("0/0/send", b'{"payload": "\xff"}', "application/json", (400, "invalid_body")),
        ("replay", b"[]", "application/json", (400, "invalid_body")),
        ("replay", b"{}", "application/json", (400, "invalid_parameter")),
        ("replay", b'{"somebody@example.com": 1}', "application/json", (400, "invalid_body")),
        ("replay", b'{"reason": "x", "expected": 1}', "application/json", (400, "invalid_parameter")),
        ("replay", small, "application/json", (413, "body_too_large")),
        ("0/0/replay", small, "application/json", (413, "body_too_large")),
        ("0/0/send", large, "application/json", (413, "body_too_large")),
        ("0/0/send", b'{"payload": ""}', "application/json", (400, "invalid_parameter")),
        ("0/0/send", b'{"payload": "\\ud800 "}', "application/json", (400, "invalid_body")),
    ):
        headers = {**ADMIN, "Content-Type": kind}
        async with server.client.post(f"/dead-letters/{path}", data=body, headers=headers) as answer:
            told = await answer.json()
            assert (answer.status, told["error"]) == refused, (path, body[:30])
            assert told["allowed"]
            assert "somebody" not in str(told)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    headers = {**ADMIN, "Content-Type": "application/json"}
    async with server.client.post("/dead-letters/0/0/send", data=endless(), headers=headers) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    ("path", "body", "parameter", "allowed"),
    [
        ("replay", {"reason": []}, "reason", "one of empty_message, "),
        ("replay", {"since": 1}, "since", "an RFC 3339 time "),
        ("replay", {"expected": "3"}, "expected", "the `total` of a dry run, a whole number"),
        ("replay", None, "expected", "the `total` of a dry run, a whole number"),
        ("0/0/send", {"dry_run": 1, "payload": "{}"}, "dry_run", "true or false"),
        ("0/0/send", None, "payload", "the whole message, as text"),
        ("replay", [], None, "a JSON object with no other fields than reason, order_uid, since, until, expected, "),
        ("0/0/replay", {"x": 1}, None, "no body, or an empty JSON object"),
    ],
)
async def test_a_wrong_body_is_told_what_is_allowed(
    server: LookupServer, path: str, body: Any, parameter: str | None, allowed: str
) -> None:
    """By the name of the field, where it is one, and in words of this project."""
    sent = {} if body is None else {"json": body}
    async with server.client.post(f"/dead-letters/{path}", headers=ADMIN, **sent) as answer:
        told = await answer.json()
    assert (answer.status, told.get("parameter")) == (400, parameter)
    assert told["error"] == ("invalid_body" if parameter is None else "invalid_parameter")
    assert told["allowed"].startswith(allowed)


async def test_a_replay_of_one_needs_no_body(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Of whatever type none is; but it does need the token, which no form of another site can send."""
    for offset in range(2):
        await store_letter(database, settings, partition=1, kafka_offset=offset)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for sent_at, headers in enumerate(({}, form)):
        url = f"/dead-letters/1/{sent_at}/replay"
        async with server.client.post(url, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (401, UNAUTHORIZED)
        async with server.client.post(url, headers={**ADMIN, **headers}) as answer:
            assert (answer.status, await answer.json()) == (200, {"partition": 1, "offset": sent_at})


async def test_a_replay_of_many_sends_what_was_expected(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """The plan first; when the number has changed, the new plan and nothing else; then what the plan said."""
    for offset in range(3):
        await store_letter(database, settings, partition=1, kafka_offset=offset)
    await store_letter(database, settings, partition=1, kafka_offset=3, reason="invalid_json")
    await store_letter(database, settings, kafka_offset=4, replay_count=5, settled_count=5)
    await store_letter(database, settings, partition=99, kafka_offset=5)
    plan = {
        "total": 3,
        "chosen": {"invalid_order": 3},
        "skipped": {"at_the_limit": 1, "no_partition": 1},
        "complete": True,
        "per_call": 1000,
    }
    filters = {"reason": "invalid_order"}
    assert without_time(await post(server, "replay", {**filters, "dry_run": True})) == (200, plan)
    before = await letters(database)
    status, refusal = await post(server, "replay", {**filters, "expected": 4})
    assert (status, refusal["error"], without_time((409, refusal["plan"]))) == (409, "count_changed", (409, plan))
    assert await letters(database) == before

    with capture_logs() as lines:
        sent = await post(server, "replay", {**filters, "expected": 3})
    assert sent == (200, {"replayed": {"invalid_order": 3}, "not_acknowledged": {}, "left": 0})
    [line] = [line for line in lines if line["event"] == "dead_letters_sent_again"]
    assert (line["letters"], line["left"]) == (3, 0)
    records = await receive(settings, settings.kafka_topic, 3, partition=1)
    assert [dict(record.headers)["x-original-offset"] for record in records] == [b"0", b"1", b"2"]
    _, again = await post(server, "replay", {**filters, "dry_run": True})
    assert (again["total"], again["skipped"]["on_its_way"]) == (0, 3)


async def test_a_replay_of_many_is_bounded_and_says_how_many_are_left(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """The next request goes on with them."""
    for offset in range(5):
        await store_letter(database, settings, kafka_offset=offset)
    async with lookup_server(settings, admin_token=TOKEN, replay_max_letters=2) as server:
        for expected, sent, left in ((5, 2, 3), (3, 2, 1), (1, 1, 0)):
            status, outcome = await post(server, "replay", {"expected": expected})
            assert (status, outcome["replayed"], outcome["left"]) == (200, {"invalid_order": sent}, left)
    records = await receive(settings, settings.kafka_topic, 5)
    assert [dict(record.headers)["x-original-offset"].decode() for record in records] == ["0", "1", "2", "3", "4"]


async def test_replays_of_many_run_one_after_the_other(settings: Settings, database: asyncpg.Connection) -> None:
    """Two at once would send the same letters. While another process replays, the caller has to ask again."""
    for offset in range(4):
        await store_letter(database, settings, kafka_offset=offset)
    async with lookup_server(settings, admin_token=TOKEN) as server:
        answers = await asyncio.gather(*(post(server, "replay", {"expected": 4}) for _ in range(3)))
        assert sorted(status for status, _ in answers) == [200, 409, 409]
        assert {body["error"] for status, body in answers if status == 409} == {"count_changed"}
        assert [letter["replay_count"] for letter in await letters(database)] == [1] * 4
        async with database.transaction():
            await database.fetchval(_LOCK, settings.kafka_group_id, settings.kafka_topic)
            assert await post(server, "replay", {"expected": 0}) == (409, {"error": "replay_running"})
        assert (await post(server, "replay", {"expected": 0}))[0] == 200
    assert len(await receive(settings, settings.kafka_topic, 4)) == 4


async def test_the_time_of_a_plan_bounds_the_calls_that_follow(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """What fails later, or is rejected again, is not among them: else one replay would send it to its limit."""
    for offset in range(4):
        await store_letter(database, settings, kafka_offset=offset)
    async with lookup_server(settings, admin_token=TOKEN, replay_max_letters=2) as server:
        _, plan = await post(server, "replay", {"dry_run": True})
        until = {"until": plan["as_of"]}
        assert (await post(server, "replay", {"expected": 4, **until}))[1]["left"] == 2
        await store_letter(database, settings, kafka_offset=9, failed_at=datetime.now(UTC))
        await database.execute(
            "UPDATE dead_letters SET settled_count = 1, failed_at = clock_timestamp() WHERE kafka_offset = 0"
        )
        assert (await post(server, "replay", {"expected": 2, **until}))[1]["left"] == 0
        status, refusal = await post(server, "replay", {"expected": 2, **until})
        assert (status, refusal["plan"]["total"], refusal["plan"]["as_of"]) == (409, 0, plan["as_of"])
        assert (await post(server, "replay", {"dry_run": True}))[1]["total"] == 2
    records = await receive(settings, settings.kafka_topic, 4)
    assert [dict(record.headers)["x-original-offset"] for record in records] == [b"0", b"1", b"2", b"3"]


def without_time(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Return the answer without the time of its plan, which must be a time."""
    status, plan = answer
    assert abs(datetime.fromisoformat(plan["as_of"]) - datetime.now(UTC)) < timedelta(minutes=1)
    return status, {name: value for name, value in plan.items() if name != "as_of"}


async def test_one_letter_is_replayed(server: LookupServer, settings: Settings, database: asyncpg.Connection) -> None:
    """The answer tells where the message lies now; what cannot be replayed says why."""
    await store_letter(database, settings, partition=1, kafka_offset=1)
    await store_letter(database, settings, partition=1, kafka_offset=2, replay_count=5, settled_count=5)
    await store_letter(database, settings, partition=1, kafka_offset=3, resolved_at=FAILED_AT)
    await store_letter(database, settings, partition=99, kafka_offset=4)
    assert await post(server, "1/1/replay", {}) == (200, {"partition": 1, "offset": 0})
    [record] = await receive(settings, settings.kafka_topic, 1, partition=1)
    assert (record.key, record.value) == (b"a key", b"a payload")
    assert dict(record.headers)["x-replay-count"] == b"1"
    assert (await get(server, "1/1"))[1]["on_its_way"] is True
    for path, why in (
        ("1/1", "on_its_way"),
        ("1/2", "at_the_limit"),
        ("1/3", "resolved"),
        ("99/4", "no_partition"),
    ):
        assert await post(server, f"{path}/replay", {}) == (409, {"error": "not_replayable", "why": why})
    assert (await post(server, "1/9/replay", {}))[0] == 404
    assert await post(server, "1/3/send", {"payload": "{}"}) == (409, {"error": "not_replayable", "why": "resolved"})
    unchanged = await post(server, "1/2/send", {"payload": "a payload"})
    assert unchanged == (409, {"error": "not_replayable", "why": "unchanged"})


async def test_a_mended_letter_becomes_an_order(
    engine: Running,
    server: LookupServer,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
) -> None:
    """It is checked first, sent to the letter's partition, stored by the engine, and the letter is resolved."""
    order = orders.order()
    key, broken = message(order, entry="", locale=5)
    [(partition, offset)] = await send(settings, (key, broken))
    path = f"{partition}/{offset}"
    await eventually(lambda: get(server, path), lambda found: found[0] == 200)

    status, checked = await post(server, f"{path}/send", {"payload": broken.decode(), "dry_run": True})
    assert (status, checked["valid"], checked["resolves"]) == (200, False, False)
    assert {error["path"] for error in checked["errors"]} == {"entry", "locale"}
    mended = json.dumps(order, ensure_ascii=False)
    _, checked = await post(server, f"{path}/send", {"payload": mended, "dry_run": True})
    assert checked == {"valid": True, "errors": [], "order_uid": order["order_uid"], "resolves": True}

    with capture_logs() as lines:
        status, sent = await post(server, f"{path}/send", {"payload": mended})
    assert (status, sent["partition"]) == (200, partition)
    [line] = [line for line in lines if line["event"] == "dead_letter_mended"]
    assert (line["letter"], line["offset"]) == (f"{partition}:{offset}", sent["offset"])
    assert order["delivery"]["email"] not in str(lines)
    found = await eventually(lambda: get(server, path), lambda found: found[1].get("state") == "resolved")
    assert (found[1]["replay_count"], found[1]["on_its_way"]) == (1, False)
    new_place = await get(server, f"{partition}/{sent['offset']}")
    assert new_place == (404, {"error": "letter_not_found", "consumed": True})
    async with server.client.get(f"/order/{order['order_uid']}") as answer:
        assert (answer.status, (await answer.json())["entry"]) == (200, order["entry"])


async def test_a_mended_letter_that_is_still_bad_is_another_letter(
    engine: Running, server: LookupServer, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """At the place that the answer told; the first one stays open."""
    key, broken = message(orders.order(), entry="")
    [(partition, offset)] = await send(settings, (key, broken))
    path = f"{partition}/{offset}"
    await eventually(lambda: get(server, path), lambda found: found[0] == 200)
    _, sent = await post(server, f"{path}/send", {"payload": broken.decode() + " "})
    place = f"{partition}/{sent['offset']}"
    _, other = await eventually(lambda: get(server, place), lambda found: found[0] == 200)
    assert (other["reason"], other["replay_count"]) == ("invalid_order", 1)
    assert (await get(server, path))[1]["state"] != "resolved"


async def test_a_message_of_a_megabyte_can_be_mended(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """What the topic does not take is refused as too large."""
    await store_letter(database, settings)
    payload = json.dumps({"name": '"' * 300_000})
    status, sent = await post(server, "0/0/send", {"payload": payload})
    assert (status, sent) == (200, {"partition": 0, "offset": 0})
    [record] = await receive(settings, settings.kafka_topic, 1)
    assert record.value == payload.encode()
    too_large = await post(server, "0/0/send", {"payload": "x" * 1_200_000})
    assert too_large == (413, {"error": "message_too_large"})
    assert (await post(server, "0/0/send", {"payload": "{}"}))[0] == 200


@pytest.mark.parametrize("silent", [False, True])
async def test_without_kafka_nothing_is_sent_and_that_is_said(
    settings: Settings, database: asyncpg.Connection, silent: bool
) -> None:
    """Refused or silent: 503 within the deadline, lookups are not delayed, and afterwards it works."""
    await store_letter(database, settings)
    broker = settings.kafka_brokers[0]
    async with tcp_proxy(broker.host, broker.port) as proxy:
        away = attrs.evolve(settings, kafka_brokers=(Address("127.0.0.1", proxy.port),))
        async with lookup_server(away, admin_token=TOKEN, broker_deadline_s=1.0) as server:
            if silent:
                proxy.hold()
            else:
                await proxy.shut()
            for path, body in (
                ("replay", {"dry_run": True}),
                ("replay", {"expected": 1}),
                ("0/0/replay", {}),
                ("0/0/send", {"payload": "{}"}),
            ):
                began = perf_counter()
                assert await post(server, path, body) == (503, {"error": "kafka_unavailable"})
                assert perf_counter() - began < 4
            assert (await get(server, "0/0"))[1]["replay_count"] == 0
            await proxy.open()
            await eventually(lambda: post(server, "replay", {"expected": 1}), lambda found: found[0] == 200)


async def test_a_kafka_that_freezes_leaves_nothing_half_done(
    settings: Settings, database: asyncpg.Connection, services: ServiceSet
) -> None:
    """The producer is there, the broker is silent: 503 that tells how many were sent, and afterwards it goes on."""
    for offset in range(3):
        await store_letter(database, settings, kafka_offset=offset)
    async with lookup_server(settings, admin_token=TOKEN, broker_deadline_s=1.0, replay_max_letters=1) as server:
        assert (await post(server, "replay", {"expected": 3}))[1]["left"] == 2
        services.kafka.freeze()
        for path, body in (("replay", {"expected": 2}), ("0/1/replay", {}), ("0/1/send", {"payload": "{}"})):
            began = perf_counter()
            assert await post(server, path, body) == (503, {"error": "kafka_unavailable"})
            assert perf_counter() - began < 4
        services.kafka.thaw()
        await eventually(lambda: post(server, "replay", {"expected": 2}), lambda found: found[0] == 200)
    assert sorted(letter["replay_count"] for letter in await letters(database)) == [0, 1, 1]


async def test_what_the_broker_does_not_acknowledge_is_not_counted(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """503 that says so, for many, for one and for a mended one; afterwards all goes on.

    A topic that is compacted takes no message without a key.
    """
    for offset in range(2):
        await store_letter(database, settings, kafka_offset=offset, key=None)
    async with lookup_server(settings, admin_token=TOKEN, broker_deadline_s=1.5) as server:
        await configure_topic(settings, settings.kafka_topic, cleanup_policy="compact")
        many = await post(server, "replay", {"expected": 2})
        told = {"replayed": {}, "not_acknowledged": {"not_acknowledged": 2}, "left": 2}
        assert many == (503, {"error": "not_acknowledged", **told})
        for path, body in (("0/0/replay", {}), ("0/0/send", {"payload": "{}"})):
            assert await post(server, path, body) == (503, {"error": "not_acknowledged"})
        assert [letter["replay_count"] for letter in await letters(database)] == [0, 0]
        await configure_topic(settings, settings.kafka_topic, cleanup_policy="delete")
        sent = await eventually(lambda: post(server, "replay", {"expected": 2}), lambda found: found[0] == 200)
        assert sent[1]["left"] == 0


async def test_a_message_that_is_too_large_takes_no_other_along(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """It is named, and stays; its neighbours are sent."""
    for offset, size in enumerate((10, 30_000, 10)):
        await store_letter(database, settings, kafka_offset=offset, payload=b"x" * size)
    await configure_topic(settings, settings.kafka_topic, max_message_bytes="10000")
    told = {"replayed": {"invalid_order": 2}, "not_acknowledged": {"message_too_large": 1}, "left": 1}
    assert await post(server, "replay", {"expected": 3}) == (200, told)
    assert [letter["replay_count"] for letter in await letters(database)] == [1, 0, 1]


async def test_without_postgresql_lists_are_unavailable(server: LookupServer, settings: Settings) -> None:
    """503, never an empty list."""
    await server.postgres.shut()
    for path in ("list", "counts", "0/0"):
        assert await get(server, path) == (503, {"error": "unavailable"})
    assert await post(server, "0/0/replay", {}) == (503, {"error": "unavailable"})
    await server.postgres.open()
    assert await offsets(server) == []


async def test_two_who_replay_at_once_replay_once(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Both are told that it was sent; it counts as one replay, as which the engine takes it."""
    await store_letter(database, settings)
    answers = await asyncio.gather(*(post(server, "0/0/replay", {}) for _ in range(2)))
    assert {status for status, _ in answers} <= {200, 409}
    assert (await letters(database))[0]["replay_count"] == 1
