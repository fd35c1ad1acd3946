"""A Kafka broker with an authorizer, on which a test grants and denies permissions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from orderflow.services import free_ports
from tests.support.brokers.broker import HOST, Broker

USER, PASSWORD = "ingest", "a-guarded-secret-6"
TIMEOUT_S = 20
_ALL = "*"
_READ, _ANY_HOST = AclOperation.READ, "*"
_LITERAL = ResourcePatternType.LITERAL


@attrs.frozen
class GuardedBroker:
    """A broker on which `USER` has all permissions until a test denies READ. Clients without a login keep all."""

    broker: Broker
    guarded_port: int

    @property
    def environment(self) -> dict[str, str]:
        """The settings to log in as `USER`."""
        return {
            "KAFKA_BROKERS": f"{HOST}:{self.guarded_port}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
        }

    async def deny_group(self, group: str) -> None:
        """Deny READ on a group: the user may neither join nor commit."""
        await self._add(ResourceType.GROUP, group, _READ, AclPermissionType.DENY)

    async def allow_group(self, group: str) -> None:
        """Allow READ on a group again."""
        await self._remove(ResourceType.GROUP, group)

    async def deny_topic(self, topic: str) -> None:
        """Deny READ on a topic: the user may not fetch."""
        await self._add(ResourceType.TOPIC, topic, _READ, AclPermissionType.DENY)

    async def allow_topic(self, topic: str) -> None:
        """Allow READ on a topic again."""
        await self._remove(ResourceType.TOPIC, topic)

    async def allow_everything(self) -> None:
        """Allow the user all operations on all topics and groups."""
        for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
            await self._add(kind, _ALL, AclOperation.ALL, AclPermissionType.ALLOW)

    async def _add(self, kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> None:
        rule = AclBinding(kind, name, _LITERAL, f"User:{USER}", _ANY_HOST, operation, permission)
        client = self._client()  # its requests end when it is garbage-collected
        [answer] = client.create_acls([rule]).values()
        await asyncio.to_thread(answer.result, TIMEOUT_S)

    async def _remove(self, kind: ResourceType, name: str) -> None:
        rule = AclBindingFilter(kind, name, _LITERAL, f"User:{USER}", _ANY_HOST, _READ, AclPermissionType.DENY)
        client = self._client()
        [answer] = client.delete_acls([rule]).values()
        removed = await asyncio.to_thread(answer.result, TIMEOUT_S)
        assert len(removed) == 1, f"there was no such rule: {rule}"

    def _client(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})


def _properties(port: int, guarded_port: int, controller_port: int) -> dict[str, str]:
    addresses = f"PLAINTEXT://{HOST}:{port},SASL_PLAINTEXT://{HOST}:{guarded_port}"
    return {
        "listeners": f"{addresses},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": addresses,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


@asynccontextmanager
async def guarded_broker(directory: Path) -> AsyncIterator[GuardedBroker]:
    """Start a broker with an authorizer, and stop it afterwards."""
    port, guarded_port, controller_port = free_ports(3)
    broker = Broker(directory / "kafka", port, _properties(port, guarded_port, controller_port))
    guarded = GuardedBroker(broker, guarded_port)
    try:
        await broker.start()
        await guarded.allow_everything()
        yield guarded
    finally:
        await broker.kill()
