"""`orderflow publish` against a real broker: what it prints has arrived, and nothing is claimed that has not."""

import asyncio
import json
import re
import signal
from itertools import islice
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from handlers.decode import decode_order
from handlers.model import Order
from orderflow.publishing.messages import generate_messages
from orderflow.services import ServiceSet
from orderflow.start.brokers import list_topics
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.isolation import delete_topics, unique
from tests.support.programs import Finished, Programs, Running

FIRST_LINE = "--- Published Order UIDs ---"


def uids_of(done: Finished) -> list[str]:
    """Return the uids between the first and the closing line."""
    first, *uids, closing = done.lines
    assert first == FIRST_LINE
    assert re.fullmatch(r"--- .+ ---", closing)
    return uids


def lines_of(count: int, seed: int) -> list[bytes]:
    return [message.value or b"" for message in islice(generate_messages(seed), count)]


async def records_in(settings: Settings) -> list[Any]:
    """Return every record of the topic, partition by partition."""
    topic = settings.kafka_topic
    consumer = AIOKafkaConsumer(**kafka_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(settings.kafka_partitions)])
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[Any] = []
        while len(records) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def printed(running: Running, count: int) -> None:
    """Wait until the program has printed `count` lines."""
    async with asyncio.timeout(20):
        await running._until(lambda: len(running.stdout_lines) >= count)


async def own_topic(settings: Settings, **configuration: str) -> str:
    name = unique("orders")
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, settings.kafka_partitions, 1, topic_configs=configuration)])
    finally:
        await admin.close()
    return name


async def test_what_it_prints_has_arrived(orderflow: Programs, settings: Settings) -> None:
    """Fifty orders by default, each a valid order under its own uid as key."""
    done = await orderflow.run("publish")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.lines[-1] == "--- 50 orders published ---"
    records = await records_in(settings)
    assert sorted(record.key.decode() for record in records) == sorted(uids_of(done))
    for record in records:
        order = decode_order(record.value)
        assert isinstance(order, Order)
        assert order.order_uid == record.key.decode()


async def test_thousands_take_seconds(orderflow: Programs, settings: Settings) -> None:
    """Generating is no bottleneck, and no uid is lost between chunks."""
    done = await orderflow.run("publish", "5000", timeout_s=30)
    assert done.returncode == 0, done.stderr
    assert len(set(uids_of(done))) == len(uids_of(done)) == 5000
    assert {record.key.decode() for record in await records_in(settings)} == set(uids_of(done))


async def test_a_seed_makes_the_same_orders(orderflow: Programs, settings: Settings) -> None:
    """Byte for byte: publishing them again is an equal repeat."""
    first = await orderflow.run("publish", "5", "--seed", "11")
    second = await orderflow.run("publish", "5", "--seed", "11")
    assert uids_of(first) == uids_of(second)
    records = await records_in(settings)
    assert len(records) == 10
    assert len({record.value for record in records}) == 5


async def test_invalid_messages_are_counted_and_not_printed(orderflow: Programs, settings: Settings) -> None:
    """Their uid may be unreadable; the closing line and standard error say how many there are."""
    done = await orderflow.run("publish", "100", "--invalid", "0.2")
    assert done.returncode == 0, done.stderr
    assert len(uids_of(done)) == 80
    assert done.lines[-1] == "--- 80 orders published, 20 invalid ---"
    assert len(done.stderr.splitlines()) == 1
    assert "20 invalid messages" in done.stderr
    verdicts = [decode_order(record.value) for record in await records_in(settings)]
    valid = [verdict.order_uid for verdict in verdicts if isinstance(verdict, Order)]
    assert len(verdicts) == 100
    assert sorted(valid) == sorted(uids_of(done))


async def test_a_repeated_order_is_printed_once(orderflow: Programs, settings: Settings) -> None:
    """A hundred messages, seventy orders; versions of one order share a partition."""
    done = await orderflow.run("publish", "100", "--repeat", "0.3")
    assert done.returncode == 0, done.stderr
    assert len(uids_of(done)) == len(set(uids_of(done))) == 70
    assert done.lines[-1] == "--- 70 orders published, 30 repeated ---"
    records = await records_in(settings)
    assert len(records) == 100
    assert {record.key.decode() for record in records} == set(uids_of(done))
    assert len({(record.key, record.partition) for record in records}) == 70


async def test_the_lines_of_a_file_are_sent_as_they_are(orderflow: Programs, settings: Settings) -> None:
    """Blank lines are none; a line that is no order is sent too, and counted."""
    lines = lines_of(3, seed=21)
    odd = [b'  {"order_uid": "odd"}', b"not json"]
    file = orderflow.folder / "orders.jsonl"
    file.write_bytes(b"\n\n".join([*lines, *odd]))
    done = await orderflow.run("publish", "--file", str(file))
    assert done.returncode == 0, done.stderr
    assert uids_of(done) == [json.loads(line)["order_uid"] for line in lines]
    sent = {record.value: record.key for record in await records_in(settings)}
    assert sent == {
        **{line: json.loads(line)["order_uid"].encode() for line in lines},
        odd[0]: b"odd",
        odd[1]: None,
    }


async def test_lines_come_from_standard_input(orderflow: Programs, settings: Settings) -> None:
    """`-` is standard input, in the order of its lines."""
    lines = lines_of(2_000, seed=22)
    done = await orderflow.run("publish", "--file", "-", stdin=b"\n".join(lines) + b"\n")
    assert done.returncode == 0, done.stderr
    assert uids_of(done) == [json.loads(line)["order_uid"] for line in lines]
    assert len(await records_in(settings)) == 2_000


async def test_a_file_that_is_not_json_lines_is_not_sent(orderflow: Programs, settings: Settings) -> None:
    """Exit code 2 with what to do, from a file and from standard input, before Kafka is even asked."""
    [line] = lines_of(1, seed=24)
    pretty = orderflow.folder / "my order.json"
    pretty.write_text(json.dumps(json.loads(line), indent=2))
    named = await orderflow.run("publish", "--file", pretty.name)
    piped = await orderflow.run("publish", "--file", "-", stdin=b"[" + line + b"]", KAFKA_BROKERS="127.0.0.1:1")
    assert [(done.returncode, done.stdout) for done in (named, piped)] == [(2, "")] * 2
    [told] = named.stderr.splitlines()
    assert told.startswith("orderflow: my order.json is one JSON document over several lines, not one order per line")
    assert "`jq -c . 'my order.json' | orderflow publish --file -`" in told
    assert piped.stderr.startswith("orderflow: standard input is a JSON array, not one order per line")
    assert await records_in(settings) == []


async def test_a_dry_run_says_what_would_be_sent(orderflow: Programs) -> None:
    """Each line with its number and its verdict, without Kafka; the exit code says whether all are valid."""
    first, second = lines_of(2, seed=25)
    uids = [json.loads(line)["order_uid"] for line in (first, second)]
    arguments, nowhere = ("publish", "--file", "-", "--dry-run"), {"KAFKA_BROKERS": "127.0.0.1:1"}
    mixed = b"\n".join([first, b"", b'{"order_uid": "odd\\u001b[2J"}', second, first])
    done = await orderflow.run(*arguments, stdin=mixed, **nowhere)
    heads = [told for told in done.lines if not told.startswith("  ")]
    assert heads[1:] == [
        f"line 1  valid  {uids[0]}",
        r"line 3  invalid_order  odd\x1b[2J",
        f"line 4  valid  {uids[1]}",
        f"line 5  valid  {uids[0]}",
        "--- 4 messages: 2 orders, 1 repeated, 1 invalid ---",
    ]
    assert "  payment: is required" in done.lines
    assert (done.returncode, done.stderr) == (1, "orderflow: 1 of 4 messages would become a dead letter\n")
    found = json.loads((await orderflow.run(*arguments, "--json", stdin=mixed, **nowhere)).stdout)
    assert [each["line"] for each in found["examined"]] == [1, 3, 4, 5]
    assert {"path": "payment", "message": "is required"} in found["examined"][1]["errors"]
    assert (found["messages"], found["orders"], found["repeated"], found["invalid"]) == (4, 2, 1, 1)
    generated = await orderflow.run("publish", "3", "--seed", "25", "--dry-run", **nowhere)
    assert (generated.returncode, generated.lines[1]) == (0, f"message 1  valid  {uids[0]}")


async def test_count_does_not_go_with_a_file(orderflow: Programs) -> None:
    """Wrong usage is exit code 2, before anything is sent."""
    for arguments in (["5", "--file", "-"], ["--file", "-", "--seed", "1"], ["--invalid", "2"], ["--rate", "0"], ["x"]):
        done = await orderflow.run("publish", *arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""


async def test_a_missing_topic_is_named_and_not_created(orderflow: Programs, settings: Settings) -> None:
    """Exit code 3, with the command that mends it."""
    name = unique("missing")
    done = await orderflow.run("publish", KAFKA_TOPIC=name)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"orderflow: Kafka has no topic '{name}': run `orderflow topics create`"]
    assert name not in await list_topics(settings)


async def test_a_broker_that_is_down_is_waited_for_and_named(orderflow: Programs) -> None:
    """Exit code 1 after START_TIMEOUT_S, with one line below the one that tells the wait."""
    done = await orderflow.run("publish", KAFKA_BROKERS="127.0.0.1:1", START_TIMEOUT_S="1")
    assert done.returncode == 1
    assert done.stdout == ""
    waiting, line = done.stderr.splitlines()
    assert waiting == "Waiting for Kafka on 127.0.0.1:1, 1 s at most"
    assert "KAFKA_BROKERS (127.0.0.1:1)" in line


async def test_a_refused_message_does_not_take_others_along(orderflow: Programs, settings: Settings) -> None:
    """Too large ones between others: they are counted by reason, and every other one arrives, in order."""
    name = await own_topic(settings, **{"max.message.bytes": "20000"})
    try:
        lines = lines_of(60, seed=23)
        for index in (10, 11, 40):
            lines[index] = lines[index][:-1] + b',"more":"' + b"x" * 30_000 + b'"}'
        done = await orderflow.run("publish", "--file", "-", stdin=b"\n".join(lines), KAFKA_TOPIC=name)
        assert done.returncode == 1
        assert "3 of 60 messages were not acknowledged: MessageSizeTooLarge (3)" in done.stderr
        expected = [json.loads(line)["order_uid"] for line in lines if len(line) < 20_000]
        assert uids_of(done) == expected
    finally:
        await delete_topics(settings, [name])


async def test_ctrl_c_prints_what_was_acknowledged(orderflow: Programs, settings: Settings) -> None:
    """It stops reading, waits for what is under way, closes the list and ends with exit code 130."""
    running = await orderflow.start("publish", "100000", "--rate", "200")
    await printed(running, 20)
    assert await running.stop(signal.SIGINT) == 130
    first, *uids, closing = running.stdout_lines
    assert first == FIRST_LINE
    assert closing == f"--- {len(uids)} orders published ---"
    assert sorted(uids) == sorted(record.key.decode() for record in await records_in(settings))


@pytest.mark.long
async def test_a_crash_of_the_broker_is_outlived(orderflow: Programs, settings: Settings, services: ServiceSet) -> None:
    """A broker that dies and comes back costs time, not orders, and no order arrives twice."""
    running = await orderflow.start("publish", "600", "--rate", "300")
    await printed(running, 50)
    await services.kafka.kill()
    assert len(running.stdout_lines) < 600
    await services.kafka.start()
    assert await running.ended(60) == 0
    assert running.stdout_lines[-1] == "--- 600 orders published ---"
    records = await records_in(settings)
    assert len(records) == len({record.key for record in records}) == 600
