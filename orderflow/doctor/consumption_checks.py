"""Checks for what stops partitions from being consumed: no leader, a hanging transaction, a foreign consumer."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from lookup.operations.owners import Owners, read_once
from lookup.operations.workers import fetch_workers

from engine.kafka.group_members import GroupMembers
from engine.kafka.open_transactions import HANGING_S, Held, OpenTransactions
from engine.kafka.topic_offsets import TopicOffsets
from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS
from orderflow.doctor.finding import CHECK_TIMEOUT_S, Finding, failed, ok, skipped
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.settings import Settings

LEADERS, TRANSACTIONS, MEMBERS = CHECKS = ("Partitions' leaders", "Open transactions", "Members of the group")
_ASK_S = 2.0
_MEMBERS_S = CHECK_TIMEOUT_S - 0.3


async def examine_consumption(settings: Settings) -> AsyncIterator[Finding]:
    """Run the checks one after the other. The topic of orders must exist."""
    offsets = TopicOffsets(kafka_options(settings), settings.kafka_topic, _ASK_S)
    try:
        yield await _leaders(offsets)
        yield await _transactions(settings, offsets)
    except (KafkaError, OSError) as error:
        yield failed(TRANSACTIONS, f"Kafka did not return its offsets ({type(error).__name__})", "see its log")
    finally:
        await offsets.close()
    yield await _members(settings)


async def _leaders(offsets: TopicOffsets) -> Finding:
    leaders = (await offsets.look()).leaders
    missing = [str(partition) for partition, leader in leaders.items() if leader is None]
    if missing:
        problem = f"no broker leads partition {', '.join(missing)}, which cannot be read or written"
        return failed(LEADERS, problem, "start the brokers that have their replicas (`kafka-topics --describe`)")
    return ok(LEADERS, "every partition has a leader")


async def _transactions(settings: Settings, offsets: TopicOffsets) -> Finding:
    held = await OpenTransactions(offsets).look(time.time())
    hanging = [(partition, state) for partition, state in held.items() if state.hangs]
    if hanging:
        details = "; ".join(_behind(partition, state) for partition, state in hanging)
        partition, state = hanging[0]
        command = (
            f"kafka-transactions --bootstrap-server {settings.kafka_bootstrap[0]} abort --topic {settings.kafka_topic} "
            f"--partition {partition} --start-offset {state.offset}"
        )
        problem = f"a transaction is open for longer than {HANGING_S / 60:g} minutes ({details})"
        return failed(TRANSACTIONS, problem, f"end it at its producer, or run `{command}`")
    if held:
        return ok(TRANSACTIONS, "; ".join(_behind(partition, state) for partition, state in held.items()))
    return ok(TRANSACTIONS, "no transaction holds messages back")


def _behind(partition: int, held: Held) -> str:
    since = "" if held.seconds is None else f", for {held.seconds:,.0f} s"
    return f"partition {partition}: {held.messages:,} messages wait behind a transaction{since}"


async def _members(settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(_MEMBERS_S):
            owners = await _owners(settings)
    except GroupAuthorizationFailedError:
        return skipped(MEMBERS, "the permission to join the group")
    except KafkaError as error:
        return failed(MEMBERS, f"Kafka did not return the group's members ({type(error).__name__})", "see its log")
    except ERRORS:
        return skipped(MEMBERS, "PostgreSQL, which lists the workers")
    if owners.foreign:
        who = ", ".join(f"{member.client_id!r} at {member.host.lstrip('/')}" for member in owners.foreign_members)
        problem = f"partition {', '.join(map(str, owners.foreign))} is consumed by a foreign member ({who})"
        fix = f"stop it, or give it another group than {settings.kafka_group_id!r} (KAFKA_GROUP_ID)"
        return failed(MEMBERS, problem, f"its messages do not arrive in this database; {fix}")
    return ok(MEMBERS, "no foreign member consumes")


async def _owners(settings: Settings) -> Owners:
    group, topic = settings.kafka_group_id, settings.kafka_topic
    members = GroupMembers(kafka_options(settings), group, topic, _ASK_S)
    connection = await connect(**{**postgres_options(settings), "timeout": _ASK_S})

    async def workers() -> Sequence[Any]:
        return await fetch_workers(connection, group, topic)

    try:
        return await read_once(members, workers)
    finally:
        await members.close()
        connection.terminate()
