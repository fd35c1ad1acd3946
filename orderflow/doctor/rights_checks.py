"""Checks of the engine's permissions in Kafka: join its group, read orders, write dead letters."""

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
    """The permitted operations on each existing topic (None: the broker does not say), and on the group."""

    topics: dict[str, frozenset[str] | None]
    group: bool

    def hides(self, topic: str) -> bool:
        """Return whether the topic is hidden from this login; it may exist or not."""
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
    """Compare the permissions with what the engine needs."""
    reading, writing, joining = CHECKS
    return [
        _topic(reading, settings, rights, settings.kafka_topic, (READ, DESCRIBE)),
        _topic(writing, settings, rights, settings.kafka_dlq_topic, (WRITE, DESCRIBE)),
        _group(joining, settings, rights),
    ]


def grant(settings: Settings, kind: str, name: str, operations: tuple[str, ...]) -> str:
    """Return the instruction that grants the engine permissions; `kind` is topic or group."""
    wanted = " ".join(f"--operation {operation}" for operation in operations)
    command = f"kafka-acls --bootstrap-server {settings.kafka_bootstrap[0]} --command-config ADMIN.properties"
    return (
        f"run `{command} --add --allow-principal {_principal(settings)} {wanted} --{kind} {name}` "
        "(a deny rule has priority: `kafka-acls --list` shows it, `--remove` deletes it)"
    )


def _topic(check: str, settings: Settings, rights: Rights, topic: str, needed: tuple[str, ...]) -> Finding:
    if topic not in rights.topics:
        return skipped(check, f"the topic {topic!r}")
    permitted = rights.topics[topic]
    if permitted is None:
        return ok(check, "this broker does not report permissions")
    missing = tuple(operation for operation in needed if operation not in permitted)
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
    """Return the engine's principal in Kafka; without a login it is ANONYMOUS."""
    return f"User:{settings.kafka_sasl_username or 'ANONYMOUS'}"
