"""PostgreSQL, Valkey and Kafka for a test, which are used over TLS and with a login.

The embedded build of Valkey has no TLS: a proxy of the test terminates TLS in front of it.
"""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from orderflow.services import free_ports
from orderflow.services.kafka import Kafka
from orderflow.services.postgresql import PostgreSQL
from orderflow.services.service import run_tool
from orderflow.services.valkey import Valkey
from orderflow.start.project import cache_directory
from orderflow.start.settings import parse_settings
from tests.support import postgresql_with_openssl
from tests.support.certificates import HOST, Certificates, make_certificates
from tests.support.tcp_proxy import tcp_proxy

USER = "secured"
PASSWORDS = {
    "POSTGRES_PASSWORD": "a-postgres-secret-1",
    "REDIS_PASSWORD": "a-redis-secret-2",
    "KAFKA_SASL_PASSWORD": "a-kafka-secret-3",
}
_KEEPER = {"POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": "a-keeper-secret-4"}
_PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = {"PLAIN": "plain.PlainLoginModule", "SCRAM-SHA-256": "scram.ScramLoginModule"}
_MECHANISMS["SCRAM-SHA-512"] = _MECHANISMS["SCRAM-SHA-256"]


@attrs.frozen
class SecureServices:
    """The services. `environment` are the settings for TLS and login. `kafka` has the address of each protocol."""

    environment: dict[str, str]
    kafka: dict[str, str]
    plain_redis: str
    certificates: Certificates
    postgresql: "SecurePostgreSQL"


class SecurePostgreSQL(PostgreSQL):
    """PostgreSQL that accepts `USER` only over TLS. The service's own user, which starts and stops it, needs no TLS."""

    certificates: Certificates

    async def complete(self) -> None:
        """Create the user, and turn TLS on."""
        await super().complete()
        connection = await self._connect()
        try:
            await connection.execute(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORDS['POSTGRES_PASSWORD']}'")
            rules = self.data / "pg_hba.conf"
            rules.write_text(f"hostnossl all {USER} all reject\n{rules.read_text()}")
            self._install(self.certificates)
            await connection.execute(f"ALTER SYSTEM SET ssl_cert_file = '{self.data / 'chain.pem'}'")
            await connection.execute(f"ALTER SYSTEM SET ssl_key_file = '{self.data / 'key.pem'}'")
            await connection.execute("ALTER SYSTEM SET ssl = on")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    async def present(self, certificates: Certificates) -> None:
        """Use these certificates for new connections."""
        self._install(certificates)
        connection = await self._connect()
        try:
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    def _install(self, certificates: Certificates) -> None:
        for source, name in ((certificates.chain, "chain.pem"), (certificates.key, "key.pem")):
            file = self.data / name
            file.touch(mode=0o600)
            file.write_text(source.read_text())
            self._hand_over(file)


class SecureKafka(Kafka):
    """Kafka with an additional listener for each protocol, on the ports `secure_ports`."""

    certificates: Certificates
    secure_ports: dict[str, int]

    async def prepare(self) -> None:
        """Add the listeners, their certificate, and the users of PLAIN."""
        await super().prepare()
        self._add_listeners()

    def _add_listeners(self) -> None:
        keys = self.directory / "keys.pem"
        keys.touch(mode=0o600)
        keys.write_text(self.certificates.key_and_chain)
        configuration = self.directory / "server.properties"
        text = configuration.read_text()
        more = "".join(f",{protocol}://{HOST}:{port}" for protocol, port in self.secure_ports.items())
        text = re.sub(r"^(listeners|advertised\.listeners)=.*", rf"\g<0>{more}", text, flags=re.MULTILINE)
        same = ",".join(f"{protocol}:{protocol}" for protocol in ("PLAINTEXT", *_PROTOCOLS))
        lines = [
            f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,{same}",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={keys}",
            f"sasl.enabled.mechanisms={','.join(_MECHANISMS)}",
        ]
        for protocol in ("sasl_plaintext", "sasl_ssl"):
            for mechanism, module in _MECHANISMS.items():
                name = f"listener.name.{protocol}.{mechanism.lower()}.sasl.jaas.config"
                users = f' user_{USER}="{PASSWORDS["KAFKA_SASL_PASSWORD"]}"' if mechanism == "PLAIN" else ""
                lines.append(f"{name}=org.apache.kafka.common.security.{module} required{users};")
        configuration.write_text("\n".join([text, *lines, ""]))

    async def complete(self) -> None:
        """Create the users of SCRAM, which Kafka stores in its metadata."""
        command = ["kafka.admin.ConfigCommand", "--bootstrap-server", f"{HOST}:{self.port}", "--alter"]
        command += ["--entity-type", "users", "--entity-name", USER, "--add-config"]
        for mechanism in _MECHANISMS.keys() - {"PLAIN"}:
            credential = f"{mechanism}=[password={PASSWORDS['KAFKA_SASL_PASSWORD']}]"
            await run_tool("creating a user of Kafka", [*self._java(), *command, credential])


@asynccontextmanager
async def secure_services(directory: Path) -> AsyncIterator[SecureServices]:
    """Start the services on free ports, with new certificates, and stop them afterwards."""
    certificates = make_certificates(directory)
    postgres, redis, kafka, *secure_ports = free_ports(3 + len(_PROTOCOLS))
    addresses = {"POSTGRES_PORT": str(postgres), "REDIS_ADDR": f"{HOST}:{redis}", "KAFKA_BROKERS": f"{HOST}:{kafka}"}
    login = {"REDIS_USERNAME": USER, "REDIS_PASSWORD": PASSWORDS["REDIS_PASSWORD"]}
    settings = parse_settings({**addresses, **login, **_KEEPER, "POSTGRES_DATABASE": "keeper"})
    programs = await postgresql_with_openssl.programs()
    async with AsyncExitStack() as stack:
        postgresql = SecurePostgreSQL(directory / "postgresql", settings, programs=programs)
        broker = SecureKafka(directory / "kafka", settings, cache_directory())
        postgresql.certificates = broker.certificates = certificates
        broker.secure_ports = dict(zip(_PROTOCOLS, secure_ports, strict=True))
        for service in (postgresql, Valkey(directory / "valkey", settings), broker):
            stack.push_async_callback(service.stop)
            await service.start()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificates.chain, certificates.key)
        front = await stack.enter_async_context(tcp_proxy(HOST, redis, tls=tls))
        brokers = {protocol: f"{HOST}:{port}" for protocol, port in broker.secure_ports.items()}
        environment = {
            **PASSWORDS,
            "POSTGRES_HOST": HOST,
            "POSTGRES_PORT": str(postgres),
            "POSTGRES_USER": USER,
            "POSTGRES_SSL_MODE": "verify-full",
            "POSTGRES_SSL_ROOT_CERT": str(certificates.authority),
            "REDIS_ADDR": f"{HOST}:{front.port}",
            "REDIS_USERNAME": USER,
            "REDIS_TLS": "true",
            "SSL_CERT_FILE": str(certificates.authority),
            "KAFKA_BROKERS": brokers["SASL_SSL"],
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SSL_CAFILE": str(certificates.authority),
        }
        yield SecureServices(environment, brokers, f"{HOST}:{redis}", certificates, postgresql)
