"""Where a canary might sing: HTTP answers, the output of commands, and what the engine writes about orders."""

import asyncio
from http import HTTPStatus
from urllib.parse import quote

import asyncpg
from aiohttp import ClientSession, ClientTimeout
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.canaries import RECIPIENT, WRONG_PASSWORD, Listener, canary_order
from tests.chaos.network import Network
from tests.support.programs import Programs
from tests.support.topic import Headers, length, receive

NAME, PHONE, EMAIL = RECIPIENT["name"], RECIPIENT["phone"], RECIPIENT["email"]
HEADERS: Headers = [("x-customer", EMAIL.encode()), ("phone", PHONE.encode())]


async def listen_to_http(settings: Settings, network: Network, listener: Listener, known: str) -> None:
    """Ask for an order, which is told, and in every way that fails: nothing else is told."""
    url = f"http://{settings.http_address}"
    async with ClientSession(url, timeout=ClientTimeout(total=20)) as client:

        async def ask(method: str, path: str, **options: object) -> bytes:
            async with client.request(
                method, path, headers={name: value.decode() for name, value in HEADERS}, **options
            ) as answer:
                body = await answer.read()
                listener.listen_to_rows(f"headers of {path}", [dict(answer.headers)])
                return body

        body = await ask("GET", f"/order/{known}")
        assert set(RECIPIENT.values()) <= listener.sing_in(body.decode()), "the listener is deaf"
        email = quote(EMAIL, safe="")
        failing = [
            f"/order/{email}",
            f"/order/{email}%00",
            f"/order/{'x' * 600}{email}",
            f"/{email}",
            f"/?order={email}",
        ]
        for path in [
            *failing,
            f"/order/nobody?phone={quote(PHONE)}",
            "/healthz",
            "/readyz",
            "/metrics",
            "/openapi.json",
        ]:
            listener.listen(f"GET {path}", await ask("GET", path))
        listener.listen("POST", await ask("POST", "/order/x", data=EMAIL * 100))
        for proxy in (network.postgres, network.redis):
            await proxy.shut()
        for path in (f"/order/{known}", "/healthz", "/readyz"):
            listener.listen(f"{path} without stores", await ask("GET", path))
        await network.open()
    listener.listen(
        "a broken request", await broken_request(settings, f"{EMAIL} {PHONE}\r\nX: {NAME}\r\n\r\n".encode())
    )


async def listen_to_a_defect(settings: Settings, database: asyncpg.Connection, listener: Listener, known: str) -> None:
    """Ask for a list with an order that is stored in a way which the server does not expect."""
    row = await database.fetchrow("SELECT date_created, track_number FROM orders WHERE order_uid = $1", known)
    assert row is not None
    await database.execute("UPDATE orders SET date_created = '0044-03-15 BC' WHERE order_uid = $1", known)
    async with (
        ClientSession(f"http://{settings.http_address}", timeout=ClientTimeout(total=20)) as client,
        client.get("/orders", params={"track_number": row["track_number"]}) as answer,
    ):
        assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
        listener.listen("an answer to a defect", await answer.read(), answer.headers)
    await database.execute("UPDATE orders SET date_created = $2 WHERE order_uid = $1", known, row["date_created"])


async def broken_request(settings: Settings, request: bytes) -> bytes:
    """Send what is no HTTP, and return the answer."""
    reader, writer = await asyncio.open_connection(settings.http_address.host, settings.http_address.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def listen_to_commands(
    orderflow: Programs, environment: dict[str, str], database: asyncpg.Connection, listener: Listener
) -> None:
    """Run every command with the secrets, and those that log in with wrong ones too."""

    async def run(*arguments: str, stdin: bytes = b"", **changes: str) -> None:
        finished = await orderflow.run(*arguments, stdin=stdin, timeout_s=40, **{**environment, **changes})
        where = " ".join([*arguments, *changes])
        assert finished.stdout or finished.stderr, f"{where} says nothing"
        listener.listen(f"stdout of {where}", finished.stdout)
        listener.listen(f"stderr of {where}", finished.stderr)

    generator = OrderGenerator(seed=26)
    orders = b"\n".join([canary_order(generator), canary_order(generator, entry=5), EMAIL.encode()])
    await run("publish", "--file", "-", stdin=orders)
    await run("publish", "--file", "-", stdin=orders, KAFKA_BROKERS="127.0.0.1:1", START_TIMEOUT_S="1")
    with_headers = "SELECT partition, kafka_offset FROM dead_letters WHERE headers <> '[]' ORDER BY failed_at LIMIT 1"
    place = "{}:{}".format(*await database.fetchrow(with_headers))
    await run("dlq", "show", place)
    await run("dlq", "show", place, "--json")
    for arguments in (
        "dlq list",
        "dlq list --json",
        "dlq replay --everything --dry-run",
        "dlq replay --everything",
        "offsets show",
        "brake status",
        "brake release",
        "topics create",
        "migrate",
    ):
        await run(*arguments.split())
    for command in ("engine", "serve", "migrate", "offsets show"):
        await run(*command.split(), POSTGRES_PASSWORD=WRONG_PASSWORD)
    for command in ("engine", "serve"):
        await run(command, REDIS_PASSWORD=WRONG_PASSWORD)
    await run("engine", KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA_SASL_USERNAME="nobody", START_TIMEOUT_S="2")
    await run("engine", REDIS_TTL="never")


async def listen_to_stores(
    settings: Settings, database: asyncpg.Connection, redis: Redis, listener: Listener, user: str
) -> None:
    """What the engine writes about orders into PostgreSQL, Redis and Kafka holds nothing of the recipient."""
    for query in (
        f"SELECT application_name, query FROM pg_stat_activity WHERE usename = '{user}'",
        "SELECT * FROM batches",
        "SELECT * FROM workers",
        "SELECT * FROM consumed_offsets",
        "SELECT reason, errors::text, publish_error FROM dead_letters",
    ):
        rows = await database.fetch(query)
        assert rows, query
        listener.listen_to_rows(query, rows)
    listener.listen("keys in Redis", *await redis.keys("*"))
    letters = await receive(settings, settings.kafka_dlq_topic, await length(settings, settings.kafka_dlq_topic))
    assert letters
    for letter in letters:
        listener.listen("headers of a dead letter", *(part for header in letter.headers for part in header))
