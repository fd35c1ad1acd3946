"""Waits for Kafka at start, and checks whether a topic exists without creating it."""

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
from orderflow.start.address import Address
from orderflow.start.connections import kafka_options
from orderflow.start.logs import library_silenced
from orderflow.start.settings import Settings
from orderflow.start.tls import certificate_refusal, speaks_tls
from orderflow.start.waiting import wait_for_answer

TRY_TIMEOUT_S = 5.0


async def list_topics(settings: Settings) -> set[str]:
    """Return the names of all topics. One attempt; raises `KafkaError` or `OSError`, within `TRY_TIMEOUT_S`.

    It asks for all topics, because asking for one by name would create it where the broker allows that.
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
    """Return the value of a setting of an existing topic; None if this user may not read it.

    One attempt; raises `KafkaError` or `OSError`.
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
    """Wait until Kafka answers and check that it has the topic, at most `START_TIMEOUT_S`.

    Raises `Failed` when Kafka does not answer in time, `CannotStart` when the topic is missing or the login is refused.
    """
    if topic in await wait_for_broker(settings):
        return
    if await _is_hidden(settings, topic):
        raise CannotStart(
            f"Kafka hides the topic {topic!r} from this login: `orderflow doctor` names the missing permission"
        )
    raise CannotStart(f"Kafka has no topic {topic!r}: run `orderflow topics create`")


async def _is_hidden(settings: Settings, topic: str) -> bool:
    brokers = Brokers(kafka_options(settings), topic)
    try:
        async with asyncio.timeout(TRY_TIMEOUT_S):
            with library_silenced("aiokafka.cluster"):  # it logs that the topic is missing, as an error
                await brokers.refresh()
    except TopicAuthorizationFailedError:
        return True
    except TROUBLE:
        return False
    finally:
        await brokers.close()
    return False


async def wait_for_broker(settings: Settings) -> set[str]:
    """Wait until Kafka answers, at most `START_TIMEOUT_S`, and return the names of all topics.

    Raises `Failed` when Kafka does not answer in time, `CannotStart` when it refuses the login.
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
    """Raise `CannotStart` if the first broker refuses the login or TLS: aiokafka only reports "no connection"."""
    refusal = None
    with suppress(TimeoutError):
        async with asyncio.timeout(TRY_TIMEOUT_S):
            refusal = await _refusal(settings)
    if refusal:
        raise CannotStart(refusal)


async def _refusal(settings: Settings) -> str | None:
    """Return why the first broker refuses the connection, with the fix; None if waiting may help."""
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
                return f"Kafka does not use TLS at {address}: check KAFKA_BROKERS, KAFKA_SECURITY_PROTOCOL ({protocol})"
        elif await speaks_tls(address.host, address.port):
            return f"Kafka uses TLS at {address}: set KAFKA_SECURITY_PROTOCOL ({protocol}) to SSL or SASL_SSL"
    return None


async def _connect(address: Address, options: Mapping[str, Any]) -> None:
    """Connect with `options`, exchange versions, log in, and disconnect."""
    security = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    connection = await create_conn(address.host, address.port, **security)
    connection.close()
