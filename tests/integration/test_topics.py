"""`orderflow topics create`."""

from orderflow.start.brokers import list_topics
from orderflow.start.settings import Settings
from tests.support.isolation import delete_topics, unique
from tests.support.programs import Programs


async def test_creates_what_is_missing_and_says_what_exists(orderflow: Programs, settings: Settings) -> None:
    """The first call creates both topics, the second creates nothing and says so."""
    names = {"KAFKA_TOPIC": unique("orders"), "KAFKA_DLQ_TOPIC": unique("letters"), "KAFKA_PARTITIONS": "3"}
    try:
        first = await orderflow.run("topics", "create", **names)
        assert first.returncode == 0, first.stderr
        assert f"Created the topic '{names['KAFKA_TOPIC']}' with 3 partitions" in first.stderr
        assert f"Created the topic '{names['KAFKA_DLQ_TOPIC']}' with 1 partition\n" in first.stderr
        second = await orderflow.run("topics", "create", **names)
        assert second.returncode == 0
        assert second.stderr.count("exists") == 2
        assert {names["KAFKA_TOPIC"], names["KAFKA_DLQ_TOPIC"]} <= await list_topics(settings)
    finally:
        await delete_topics(settings, [names["KAFKA_TOPIC"], names["KAFKA_DLQ_TOPIC"]])


async def test_gives_up_when_no_broker_answers(orderflow: Programs) -> None:
    """A broker that is down is waited for START_TIMEOUT_S long, then the exit code is 1."""
    ended = await orderflow.run("topics", "create", KAFKA_BROKERS="127.0.0.1:1", START_TIMEOUT_S="0.5")
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines() == [
        "orderflow: no Kafka broker answered within 0.5 s: start one, or check KAFKA_BROKERS (127.0.0.1:1) "
        "and KAFKA_SECURITY_PROTOCOL (PLAINTEXT)"
    ]
