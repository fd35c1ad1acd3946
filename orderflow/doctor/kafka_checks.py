"""Checks of Kafka: reachable, also at its advertised addresses, with both topics and enough partitions."""

import asyncio
from collections.abc import AsyncIterator

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from orderflow.doctor import consumption_checks, rights_checks
from orderflow.doctor.consumption_checks import examine_consumption
from orderflow.doctor.finding import Finding, Outcome, failed, ok, skipped, warned
from orderflow.doctor.rights_checks import Rights, check_rights, find_rights, grant
from orderflow.exits import CannotStart
from orderflow.start.brokers import check_login, list_partitions, list_topics, topic_setting
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

ADVERTISED_TIMEOUT_S = 2.0
_OF_BROKERS = (*rights_checks.CHECKS, *consumption_checks.CHECKS)
_CREATE = "run `orderflow topics create`"


async def examine_kafka(settings: Settings) -> AsyncIterator[Finding]:
    """Run the checks one after the other; those that need the brokers are skipped without them."""
    brokers = ",".join(settings.kafka_bootstrap)
    try:
        advertised = await _advertised(settings)
    except CannotStart as problem:
        yield Finding("Kafka", Outcome.FAILED, str(problem))
        advertised = []
    except (KafkaError, OSError):
        fix = "start it (`orderflow services up`), or check KAFKA_BROKERS and KAFKA_SECURITY_PROTOCOL"
        yield failed("Kafka", f"no broker answers at {brokers}", fix)
        advertised = []
    else:
        yield ok("Kafka", f"answers at {brokers}")
    unreachable = [f"{host}:{port}" for host, port in advertised if not await _reachable(host, port)]
    if advertised and not unreachable:
        yield ok("Kafka's advertised addresses", ", ".join(f"{host}:{port}" for host, port in advertised))
        async for finding in _topics(settings):
            yield finding
        return
    if not advertised:
        yield skipped("Kafka's advertised addresses", "Kafka")
    if unreachable:
        fix = "set the broker's advertised.listeners to an address that this machine can reach"
        yield failed("Kafka's advertised addresses", f"{', '.join(unreachable)} cannot be reached from here", fix)
    for check in ("Topic of orders", "Topic of dead letters", "Partitions", *_OF_BROKERS):
        yield skipped(check, "Kafka")


async def _advertised(settings: Settings) -> list[tuple[str, int]]:
    """Return the brokers' advertised addresses. Raises `CannotStart` for a refused login, else what aiokafka raises."""
    client = AIOKafkaClient(**kafka_options(settings), client_id="orderflow-doctor", request_timeout_ms=4000)
    try:
        await client.bootstrap()
        return sorted({(broker.host, broker.port) for broker in client.cluster.brokers()})
    except KafkaError:
        await check_login(settings)
        raise
    finally:
        await client.close()


async def _reachable(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ADVERTISED_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _topics(settings: Settings) -> AsyncIterator[Finding]:
    try:
        topics = await list_topics(settings)
        partitions = await list_partitions(settings, settings.kafka_topic) if settings.kafka_topic in topics else []
        rights = await find_rights(settings)
    except (KafkaError, OSError) as error:
        yield failed("Topic of orders", f"Kafka did not list its topics ({type(error).__name__})", "see its log")
        return
    if partitions:
        yield ok("Topic of orders", f"{settings.kafka_topic!r}, {len(partitions)} partitions")
    else:
        yield _missing("Topic of orders", settings, rights, settings.kafka_topic)
    if settings.kafka_dlq_topic in topics:
        yield await _dead_letters(settings)
    else:
        yield _missing("Topic of dead letters", settings, rights, settings.kafka_dlq_topic)
    yield _partitions(settings, len(partitions)) if partitions else skipped("Partitions", "the topic of orders")
    for finding in check_rights(settings, rights):
        yield finding
    if partitions:
        async for finding in examine_consumption(settings):
            yield finding
    else:
        for check in consumption_checks.CHECKS:
            yield skipped(check, "the topic of orders")


def _missing(check: str, settings: Settings, rights: Rights, topic: str) -> Finding:
    if rights.hides(topic):
        return failed(check, f"{topic!r} is hidden from this login", grant(settings, "topic", topic, ("DESCRIBE",)))
    return failed(check, f"{topic!r} is missing", _CREATE)


async def _dead_letters(settings: Settings) -> Finding:
    check, topic = "Topic of dead letters", settings.kafka_dlq_topic
    try:
        policy = await topic_setting(settings, topic, "cleanup.policy") or ""
    except (KafkaError, OSError) as error:
        return failed(
            check, f"Kafka did not return the cleanup policy of {topic!r} ({type(error).__name__})", "see its log"
        )
    if "compact" in policy.split(","):
        problem = (
            f"{topic!r} is compacted (cleanup.policy={policy}): it refuses letters without a key, which stay in the "
            "table, and it keeps only the last letter of each key"
        )
        command = f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config"
        fix = f"run `{command} cleanup.policy=delete`, then `orderflow dlq publish --refused`"
        return warned(check, problem, fix)
    return ok(check, repr(topic))


def _partitions(settings: Settings, partitions: int) -> Finding:
    workers = settings.effective_workers
    if partitions < workers:
        problem = f"{workers} workers share {partitions} partition{'s' if partitions > 1 else ''}: some are idle"
        return failed("Partitions", problem, f"set WORKERS to {partitions} at most, or add partitions to the topic")
    return ok("Partitions", f"{partitions} for {workers} worker{'s' if workers > 1 else ''} on this machine")
