"""A Kafka broker with TLS. Its certificate and authority can be replaced, as is done before they expire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orderflow.services import free_ports
from tests.support.brokers.broker import HOST, Broker
from tests.support.certificates import Certificates, make_certificates


@attrs.define
class EncryptedBroker:
    """A broker with a TLS listener that uses `certificates`. Clients trust the authorities in the file `authority`."""

    broker: Broker
    tls_port: int
    authority: Path
    keys: Path
    certificates: Certificates
    _made: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The settings to connect to the broker over TLS."""
        return {
            "KAFKA_BROKERS": f"{HOST}:{self.tls_port}",
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(self.authority),
        }

    async def replace_certificate(self) -> None:
        """Restart the broker with a certificate of another authority, which clients do not trust yet."""
        self._made += 1
        folder = self.keys.parent / f"certificates-{self._made}"
        folder.mkdir()
        self.certificates = make_certificates(folder)
        await self.broker.stop()
        _write_keys(self.keys, self.certificates)
        await self.broker.start()

    def replace_authority(self) -> None:
        """Write the authority of the broker's current certificate into the file that clients trust."""
        new = self.authority.with_suffix(".new")
        new.write_bytes(self.certificates.authority.read_bytes())
        new.replace(self.authority)


def _write_keys(keys: Path, certificates: Certificates) -> None:
    keys.touch(mode=0o600)
    keys.write_text(certificates.key_and_chain)


def _properties(port: int, tls_port: int, controller_port: int, keys: Path) -> dict[str, str]:
    addresses = f"PLAINTEXT://{HOST}:{port},SSL://{HOST}:{tls_port}"
    return {
        "listeners": f"{addresses},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": addresses,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keys),
    }


@asynccontextmanager
async def encrypted_broker(directory: Path) -> AsyncIterator[EncryptedBroker]:
    """Start a broker with new certificates, and stop it afterwards."""
    certificates = make_certificates(directory)
    authority, keys = directory / "trusted.pem", directory / "keys.pem"
    port, tls_port, controller_port = free_ports(3)
    broker = Broker(directory / "kafka", port, _properties(port, tls_port, controller_port, keys))
    encrypted = EncryptedBroker(broker, tls_port, authority, keys, certificates)
    encrypted.replace_authority()
    _write_keys(keys, certificates)
    try:
        await broker.start()
        yield encrypted
    finally:
        await broker.kill()
