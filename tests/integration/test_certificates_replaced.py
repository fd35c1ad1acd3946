"""The file of certificate authorities is replaced while clients live: their next connection goes by the new one.

The servers are real, on the loopback, and end their TLS themselves; Kafka's is a proxy of the test's.
"""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from structlog.testing import capture_logs

from orderflow.start.connections import kafka_options
from orderflow.start.settings import parse_settings
from orderflow.start.tls import ReloadingContext
from tests.support.certificates import HOST, Certificates, make_certificates
from tests.support.endpoints import Endpoints
from tests.support.programs import Programs
from tests.support.tcp_proxy import tcp_proxy

Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def old(tmp_path: Path) -> Certificates:
    """Make a server's certificate, and the authority that signed it."""
    return make_certificates(_folder(tmp_path / "old"))


@pytest.fixture
def new(tmp_path: Path) -> Certificates:
    """Make them again, by another authority of the same name."""
    return make_certificates(_folder(tmp_path / "new"))


@pytest.fixture
def trusted(old: Certificates, tmp_path: Path) -> Path:
    """Provide the file that clients are told of. It holds the old authority."""
    return Path(shutil.copy(old.authority, tmp_path / "trusted.pem"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def replace(file: Path, source: Path) -> None:
    """Put another file in its place, as whatever renews certificates does."""
    unfinished = file.with_suffix(".new")
    shutil.copy(source, unfinished)
    unfinished.replace(file)


def write(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


def overwrite_with_the_same_time(file: Path, text: str) -> None:
    before = file.stat()
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def of_server(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


@asynccontextmanager
async def served(certificates: Certificates) -> AsyncIterator[int]:
    """Provide the port of a TLS server that hangs up after the handshake."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0, ssl=of_server(certificates))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def accepts(context: ssl.SSLContext, certificates: Certificates) -> bool:
    """Return whether a client with this context accepts a server with these certificates."""
    async with served(certificates) as port:
        try:
            _, writer = await asyncio.open_connection(HOST, port, ssl=context)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True


def run(loop: Loop, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_replaced_file_counts_from_the_next_connection_on(
    loop: Loop, trusted: Path, old: Certificates, new: Certificates
) -> None:
    """The new authority is accepted and the old one no more, by one and the same context; back again as well."""

    async def check() -> None:
        context = ReloadingContext(str(trusted))
        assert await accepts(context, old)
        assert not await accepts(context, new)
        replace(trusted, new.authority)
        with capture_logs() as logs:
            assert await accepts(context, new)
            assert not await accepts(context, old)
        assert [(line["event"], line["file"]) for line in logs] == [("ca_file_replaced", str(trusted))]
        replace(trusted, old.authority)
        assert await accepts(context, old)

    run(loop, check())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_file_that_is_not_whole_changes_nothing_yet(
    loop: Loop, trusted: Path, old: Certificates, new: Certificates
) -> None:
    """Gone, empty, or half-written, it leaves what was accepted, says so once, and counts as soon as it is whole."""

    async def check() -> None:
        context = ReloadingContext(str(trusted))
        text = new.authority.read_text()
        remove(trusted)
        assert await accepts(context, old)
        for unfinished in ("", text[: len(text) // 2], "no certificate"):
            write(trusted, unfinished)
            with capture_logs() as logs:
                assert await accepts(context, old)
                assert await accepts(context, old)
            assert [line["event"] for line in logs] == ["ca_file_unreadable"]
        write(trusted, text)
        assert await accepts(context, new)
        assert not await accepts(context, old)

    run(loop, check())


async def test_the_systems_trust_store_is_followed_too(
    trusted: Path, old: Certificates, new: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file is named, the one that SSL_CERT_FILE names counts; taken away for a moment, it changes nothing."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = ReloadingContext()
    assert await accepts(context, old)
    remove(trusted)
    assert await accepts(context, old)
    shutil.copy(new.authority, trusted)
    assert await accepts(context, new)
    assert not await accepts(context, old)


async def test_a_file_with_the_old_times_and_size_is_another_one(
    trusted: Path, old: Certificates, new: Certificates
) -> None:
    """Copied with its times kept, as some tools do, over the file itself."""
    context = ReloadingContext(str(trusted))
    old_text, new_text = old.authority.read_text(), new.authority.read_text()
    size = max(len(old_text), len(new_text))
    write(trusted, old_text.ljust(size, "\n"))
    assert await accepts(context, old)
    overwrite_with_the_same_time(trusted, new_text.ljust(size, "\n"))
    assert await accepts(context, new)


async def test_whose_name_is_not_checked_is_followed_as_well(trusted: Path, new: Certificates) -> None:
    """The mode `require` of PostgreSQL checks the authority and not the name, before and after."""
    context = ReloadingContext(str(trusted), check_hostname=False)
    replace(trusted, new.authority)
    async with served(new) as port:
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        async with served(new) as port:
            await asyncio.open_connection("localhost", port, ssl=ReloadingContext(str(trusted)))


def kafka_over_tls(endpoints: Endpoints, trusted: Path) -> dict[str, str]:
    """Return settings that lead to this run's own Kafka through a proxy on its advertised port. Skips without one."""
    if endpoints.embedded is None:
        pytest.skip("this run's Kafka has no port for a proxy")
    proxy_listener = endpoints.embedded.kafka.proxy_listener
    assert proxy_listener is not None
    return {
        "KAFKA_BROKERS": f"{HOST}:{proxy_listener.advertised}",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(trusted),
    }


@asynccontextmanager
async def kafka_with(certificates: Certificates, endpoints: Endpoints) -> AsyncIterator[None]:
    """End the TLS of Kafka's clients, with these certificates, in front of it."""
    assert endpoints.embedded is not None
    proxy_listener = endpoints.embedded.kafka.proxy_listener
    assert proxy_listener is not None
    async with tcp_proxy(HOST, proxy_listener.port, listen_on=proxy_listener.advertised, tls=of_server(certificates)):
        yield


async def test_a_kafka_client_that_lives_long_reconnects(
    endpoints: Endpoints, trusted: Path, old: Certificates, new: Certificates
) -> None:
    """Its options are made once; the brokers come back with a certificate of another authority."""
    own = parse_settings({**endpoints.environment, **kafka_over_tls(endpoints, trusted)})
    client = AIOKafkaClient(**kafka_options(own), request_timeout_ms=4000)
    try:
        async with kafka_with(old, endpoints):
            await client.bootstrap()
        replace(trusted, new.authority)
        async with kafka_with(new, endpoints), asyncio.timeout(20):
            while not await client.force_metadata_update():
                await asyncio.sleep(0.1)
    finally:
        await client.close()


async def test_an_engine_goes_on_when_its_brokers_have_a_new_certificate(
    orderflow: Programs, endpoints: Endpoints, trusted: Path, old: Certificates, new: Certificates
) -> None:
    """The worker that is there before reads on without a restart, and publishes its dead letters as well."""
    secured = kafka_over_tls(endpoints, trusted)
    async with kafka_with(old, endpoints):
        engine = await orderflow.start("engine", "--workers", "1", **secured)
        await engine.wait_for("partition_opened", count=4, timeout_s=60)
        await orderflow.run("publish", "1", "--invalid", "1")
        await engine.wait_for("dead_letter_published", timeout_s=30)
    replace(trusted, new.authority)
    async with kafka_with(new, endpoints):
        await orderflow.run("publish", "1", "--invalid", "1")
        await engine.wait_for("dead_letter_published", count=2, timeout_s=60)
        assert engine.seen("worker_restarting") == []
        assert await engine.stop() == 0
