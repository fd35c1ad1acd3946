"""Wrapped messages: named while they are not expected, and orders once `KAFKA_VALUE_FORMAT` says what they are."""

import json
from typing import Any

import asyncpg
import pytest

from handlers.value_formats import CONFLUENT_JSON, ENVELOPE
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.letters import letters
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.topic import receive, send

FRAME = b"\x00\x00\x01\x86\xa1"
SCHEMA = b'{"type":"struct","fields":[],"optional":false}'
WRAPPED = {CONFLUENT_JSON: FRAME + b"%b", ENVELOPE: b'{"schema":' + SCHEMA + b',"payload":%b}'}
REASONS = {CONFLUENT_JSON: "invalid_json", ENVELOPE: "invalid_order"}
CURES = {
    CONFLUENT_JSON: "(0x00, schema id 100001): KAFKA_VALUE_FORMAT=confluent-json unwraps it",
    ENVELOPE: "set value.converter.schemas.enable=false there, or KAFKA_VALUE_FORMAT=envelope here",
}
PATHS = {CONFLUENT_JSON: "entry", ENVELOPE: "payload.entry"}
ADMIN = {"Authorization": "Bearer secret"}
formats = pytest.mark.parametrize("value_format", [CONFLUENT_JSON, ENVELOPE])


def wrapped(value_format: str, order: dict[str, Any], **changes: Any) -> tuple[bytes, bytes]:
    value = json.dumps({**order, **changes}).encode()
    return order["order_uid"].encode(), WRAPPED[value_format].replace(b"%b", value)


async def stored(database: asyncpg.Connection) -> set[str]:
    return {row["order_uid"] for row in await database.fetch("SELECT order_uid FROM orders")}


@formats
async def test_wrapped_orders_are_letters_until_the_setting_says_what_they_are(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, value_format: str
) -> None:
    """The letters keep the bytes as they came and name the setting; with it a replay makes orders of them."""
    orders = [OrderGenerator(seed=5).order() for _ in range(1)] + [OrderGenerator(seed=6).order()]
    sent = [wrapped(value_format, order) for order in orders]
    engine = await orderflow.start("engine", "--workers", "1")
    await send(settings, *sent, partition=1)
    kept = await eventually(lambda: letters(database), lambda found: len(found) == len(orders))
    assert [letter["payload"] for letter in kept] == [value for _, value in sent]
    assert {letter["reason"] for letter in kept} == {REASONS[value_format]}
    assert all(json.loads(letter["errors"])[0]["message"].endswith(CURES[value_format]) for letter in kept)
    assert await engine.stop() == 0

    await orderflow.start("engine", "--workers", "1", KAFKA_VALUE_FORMAT=value_format)
    replayed = await orderflow.run("dlq", "replay", "--everything", KAFKA_VALUE_FORMAT=value_format)
    assert replayed.returncode == 0, replayed.stderr
    uids = {order["order_uid"] for order in orders}
    await eventually(lambda: stored(database), lambda found: found == uids)
    records = await receive(settings, settings.kafka_topic, 4, partition=1)
    assert [record.value for record in records] == 2 * [value for _, value in sent]

    published = await orderflow.run("publish", "3", KAFKA_VALUE_FORMAT=value_format)
    assert published.returncode == 0, published.stderr
    await eventually(lambda: stored(database), lambda found: found == uids | {*published.lines[1:-1]})
    assert [letter["resolved_at"] is None for letter in await letters(database)] == [False, False]


async def call(server: LookupServer, path: str, body: dict[str, Any] | None = None) -> Any:
    url = f"/dead-letters/{path}"
    request = (
        server.client.get(url, headers=ADMIN) if body is None else server.client.post(url, json=body, headers=ADMIN)
    )
    async with request as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@formats
async def test_a_wrapped_letter_is_shown_and_mended(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, value_format: str
) -> None:
    """Masked with its kinds; a person corrects the JSON, and what is sent is wrapped as the letter was."""
    order = OrderGenerator(seed=7).order()
    broken = wrapped(value_format, order, entry=5)
    await orderflow.start("engine", "--workers", "1", KAFKA_VALUE_FORMAT=value_format)
    [(partition, offset)] = await send(settings, broken, partition=1)
    await eventually(lambda: letters(database), lambda found: len(found) == 1)
    place = f"{partition}/{offset}"
    async with lookup_server(settings, admin_token="secret", value_format=value_format) as server:
        masked = await call(server, place)
        assert masked["errors"] == [{"path": PATHS[value_format], "message": "must be a string, not a number"}]
        shape = masked["shape"] if value_format == CONFLUENT_JSON else masked["shape"]["payload"]
        assert shape["entry"] == "••• number"
        revealed = await call(server, f"{place}?reveal=1")
        if value_format == CONFLUENT_JSON:
            assert masked["looks_like"].startswith("JSON in a schema registry's frame (0x00, schema id 100001)")
            assert json.loads(revealed["unwrapped"]) == {**order, "entry": 5}
        else:
            assert "looks_like" not in masked
            assert "unwrapped" not in revealed
        text = revealed.get("unwrapped") or revealed["payload"]
        assert not (await call(server, f"{place}/send", {"payload": text, "dry_run": True}))["valid"]
        mended = text.replace('"entry": 5', f'"entry": "{order["entry"]}"')
        checked = await call(server, f"{place}/send", {"payload": mended, "dry_run": True})
        assert (checked["valid"], checked["resolves"]) == (True, True)
        await call(server, f"{place}/send", {"payload": mended})
        await eventually(lambda: letters(database), lambda found: found[0]["resolved_at"] is not None)
    *_, last = await receive(settings, settings.kafka_topic, 2, partition=1)
    assert last.value == wrapped(value_format, order)[1]
