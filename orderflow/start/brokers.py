"""Waits for Kafka at start, and finds out whether a topic exists without ever creating it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaError,
    TopicAuthorizationFailedError,
    for_code,
)

from engine.kafka.brokers import REFUSED_LOGIN, TROUBLE, Brokers
from orderflow.exits import CannotStart
from orderflow.start.connections import kafka_options
from orderflow.start.patience import wait_for_answer
from orderflow.start.settings import Address, Settings
from orderflow.start.tls import certificate_refusal, speaks_tls

TRY_TIMEOUT_S = 5.0


async def list_topics(settings: Settings) -> set[str]:
    """Return the names of all topics. One try; raises `KafkaError` or `OSError`, within `TRY_TIMEOUT_S`.

    It asks for all topics: asking for one by its name would create it where the broker allows that.
    """
    async with asyncio.timeout(TRY_TIMEOUT_S):
        admin = AIOKafkaAdminClient(**kafka_options(settings))
        try:
            await admin.start()
            return set(await admin.list_topics())
        finally:
            await admin.close()


async def list_partitions(settings: Settings, topic: str) -> list[int]:
    """Return the partitions of a topic that exists, sorted. Raises `KafkaError` or `OSError`."""
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        await admin.start()
        [described] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return sorted(partition["partition"] for partition in described["partitions"])


async def topic_setting(settings: Settings, topic: str, name: str) -> str | None:
    """Return what a topic that exists has for a setting of its; None where this user may not know.

    One try; raises `KafkaError` or `OSError`.
    """
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        await admin.start()
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: ""})])
    finally:
        await admin.close()
    resources = [resource for answer in answers for resource in answer.resources]
    for code, *_, entries in resources:
        if for_code(code) is TopicAuthorizationFailedError:
            return None
        if code:
            raise for_code(code)()
        for entry in entries:
            if entry[0] == name:
                return str(entry[1])
    return None


async def wait_for_topic(settings: Settings, topic: str) -> None:
    """Return when Kafka answers and has the topic, waiting `START_TIMEOUT_S` at most.

    Raises `Failed` when Kafka does not answer until then, `CannotStart` when it has no such topic or refuses the login.
    """
    if topic in await wait_for_broker(settings):
        return
    if await _is_hidden(settings, topic):
        raise CannotStart(f"Kafka hides the topic {topic!r} from this login: `orderflow doctor` says what it lacks")
    raise CannotStart(f"Kafka has no topic {topic!r}: run `orderflow topics create`")


async def _is_hidden(settings: Settings, topic: str) -> bool:
    brokers = Brokers(kafka_options(settings), topic)
    try:
        async with asyncio.timeout(TRY_TIMEOUT_S):
            await brokers.refresh()
    except TopicAuthorizationFailedError:
        return True
    except TROUBLE:
        return False
    finally:
        await brokers.close()
    return False


async def wait_for_broker(settings: Settings) -> set[str]:
    """Return the names of all topics as soon as Kafka answers, waiting `START_TIMEOUT_S` at most.

    Raises `Failed` when Kafka does not answer until then, `CannotStart` when it refuses the login.
    """

    async def ask() -> set[str] | None:
        try:
            return await list_topics(settings)
        except (KafkaError, OSError):
            await check_login(settings)
            return None

    brokers, timeout_s = ",".join(settings.kafka_bootstrap), settings.start_timeout_s
    complaint = (
        f"no Kafka broker answered within {timeout_s:g} s: start one, or check "
        f"KAFKA_BROKERS ({brokers}) and KAFKA_SECURITY_PROTOCOL ({settings.kafka_security_protocol})"
    )
    return await wait_for_answer(ask, timeout_s, "Kafka", brokers, complaint)


async def check_login(settings: Settings) -> None:
    """Raise `CannotStart` if the first broker will never let us in: aiokafka's clients report "no connection"."""
    refusal = None
    with suppress(TimeoutError):
        async with asyncio.timeout(TRY_TIMEOUT_S):
            refusal = await _refusal(settings)
    if refusal:
        raise CannotStart(refusal)


async def _refusal(settings: Settings) -> str | None:
    """Return why the first broker does not let us in, and what mends it; None if waiting may help."""
    address, protocol = settings.kafka_brokers[0], settings.kafka_security_protocol
    try:
        await _connect(address, kafka_options(settings))
    except REFUSED_LOGIN:
        return (
            f"Kafka refused the login of {settings.kafka_sasl_username!r}: check KAFKA_SASL_USERNAME, "
            f"KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM ({settings.kafka_sasl_mechanism})"
        )
    except (KafkaError, OSError) as error:
        if reason := certificate_refusal(error):
            return (
                f"Kafka's certificate is not accepted ({reason}): check KAFKA_SSL_CAFILE, "
                f"and that the certificate names {address.host}"
            )
        if protocol.endswith("SSL"):
            with suppress(KafkaError, OSError):
                await _connect(address, {})
                return f"Kafka speaks no TLS at {address}: check KAFKA_BROKERS, KAFKA_SECURITY_PROTOCOL ({protocol})"
        elif await speaks_tls(address.host, address.port):
            return f"Kafka speaks TLS at {address}: set KAFKA_SECURITY_PROTOCOL ({protocol}) to SSL or SASL_SSL"
    return None


async def _connect(address: Address, options: Mapping[str, Any]) -> None:
    """Connect as `options` say, exchange versions, log in, and hang up."""
    security = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    connection = await create_conn(address.host, address.port, **security)
    connection.close()
