"""Checks of what Kafka lets the engine do: consume in its group, read orders, write dead letters."""

import asyncio

import attrs

from engine.kafka.brokers import Brokers
from engine.kafka.rights import DESCRIBE, READ, WRITE, may_join, topic_rights
from orderflow.doctor.finding import Finding, failed, ok, skipped
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

CHECKS = ("Right to read orders", "Right to write dead letters", "Right to join the group")
_ASK_S = 4.0


@attrs.frozen
class Rights:
    """What may be done to each topic that is there, None where the broker does not tell; and whether to join."""

    topics: dict[str, frozenset[str] | None]
    group: bool

    def hides(self, topic: str) -> bool:
        """Return whether the topic is not shown, be it there or not."""
        return self.topics.get(topic) == frozenset()


async def find_rights(settings: Settings) -> Rights:
    """Ask a broker and the group's coordinator. Raises `KafkaError` or `OSError`."""
    brokers = Brokers({**kafka_options(settings), "client_id": "orderflow-doctor"})
    try:
        async with asyncio.timeout(_ASK_S):
            await brokers.refresh()
            topics = await topic_rights(brokers, [settings.kafka_topic, settings.kafka_dlq_topic])
            return Rights(topics, await may_join(brokers, settings.kafka_group_id))
    finally:
        await brokers.close()


def check_rights(settings: Settings, rights: Rights) -> list[Finding]:
    """Compare what may be done with what the engine does."""
    reading, writing, joining = CHECKS
    return [
        _topic(reading, settings, rights, settings.kafka_topic, (READ, DESCRIBE)),
        _topic(writing, settings, rights, settings.kafka_dlq_topic, (WRITE, DESCRIBE)),
        _group(joining, settings, rights),
    ]


def grant(settings: Settings, kind: str, name: str, operations: tuple[str, ...]) -> str:
    """Return what gives the engine rights: `kind` is topic or group."""
    wanted = " ".join(f"--operation {operation}" for operation in operations)
    command = f"kafka-acls --bootstrap-server {settings.kafka_bootstrap[0]} --command-config ADMIN.properties"
    return (
        f"run `{command} --add --allow-principal {_principal(settings)} {wanted} --{kind} {name}` "
        "(a rule that denies wins: `kafka-acls --list` shows it, `--remove` takes it away)"
    )


def _topic(check: str, settings: Settings, rights: Rights, topic: str, needed: tuple[str, ...]) -> Finding:
    if topic not in rights.topics:
        return skipped(check, f"the topic {topic!r}")
    found = rights.topics[topic]
    if found is None:
        return ok(check, "this broker does not tell rights")
    missing = tuple(right for right in needed if right not in found)
    if missing:
        problem = f"{_principal(settings)} lacks {', '.join(missing)} on the topic {topic!r}"
        return failed(check, problem, grant(settings, "topic", topic, missing))
    return ok(check, f"{', '.join(needed)} on {topic!r}")


def _group(check: str, settings: Settings, rights: Rights) -> Finding:
    group = settings.kafka_group_id
    if rights.group:
        return ok(check, f"{READ} on {group!r}")
    problem = f"{_principal(settings)} lacks {READ} on the group {group!r}"
    return failed(check, problem, grant(settings, "group", group, (READ,)))


def _principal(settings: Settings) -> str:
    """Return who the engine is to Kafka: without a login somebody whose name is not known to it."""
    return f"User:{settings.kafka_sasl_username or 'ANONYMOUS'}"
