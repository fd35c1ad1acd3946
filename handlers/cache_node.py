"""One Redis server: a server alone, or a primary of a Redis Cluster."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import MasterDownError, NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from handlers.cache_scripts import ALL, Script

Pair = tuple[bytes, bytes]
"""A key, and the value for it that is an argument of a script."""
Command = tuple[Any, ...]
PAIRS_A_SCRIPT = 250
"""How many keys one script call handles. Redis serves no other client during a call, and larger calls are slower."""

_REPLICA = (ReadOnlyError, MasterDownError)
"""How a server refuses that has another primary."""
_IDENTITY = re.compile(rb"^(run_id|master_replid):([^\r\n]*)", re.MULTILINE)


def packed(*arguments: str | int | bytes) -> bytes:
    """Return a command as Redis reads it. redis-py copies what it has packed so far for every further argument."""
    pieces = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        pieces += (b"$%d\r\n" % len(value), value, b"\r\n")
    return b"".join(pieces)


class Node:
    """Sends commands to one server. Raises `redis.RedisError` if it fails."""

    def __init__(self, redis: Redis, host: str = "", port: int = 0) -> None:
        self.redis = redis
        self.host = host
        self.port = port
        self.failed_at = 0.0
        """The time of the loop of the last failure."""
        self.identity: str | None = None
        """What `read_identity` returned last."""
        self._pool: Any = redis.connection_pool  # its stubs are incomplete
        self._timeout_s: float | None = self._pool.connection_kwargs.get("socket_timeout")
        self._idle: list[Any] = []
        """Connections for `_call`, out of the pool."""

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of the keys."""
        values: list[bytes | None] = await self._call_one(packed("MGET", *keys))
        return values

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Run the script, and load it first if the server does not know it."""
        command = packed("EVALSHA", script.sha, len(keys), *keys, *arguments)
        try:
            return await self._call_one(command)
        except NoScriptError:
            await self._load(script)
            return await self._call_one(command)

    async def _load(self, script: Script) -> None:
        await self._call_one(packed("SCRIPT", "LOAD", script.source))

    async def send(self, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
        """Send the commands in one round trip, and return the answers. A refusal is an answer: a `ResponseError`.

        Scripts that the server does not know are loaded, and their commands are sent again. With `asking` a node
        answers for a slot that is being moved to it.
        """
        answers = await self._send(commands, asking)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for sha in {commands[place][1] for place in unknown}:
                await self._load(ALL[sha])
            again = await self._send([commands[place] for place in unknown], asking)
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers

    async def _send(self, commands: Sequence[Command], asking: bool) -> list[Any]:
        # ASKING is valid for the next command of the same connection only.
        sent = [each for command in commands for each in (("ASKING",), command)] if asking else commands
        answers = await self._call(b"".join(packed(*command) for command in sent), len(sent))
        return answers[1::2] if asking else answers

    async def _call_one(self, command: bytes) -> Any:
        [answer] = await self._call(command, 1)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def _call(self, commands: bytes, count: int) -> list[Any]:
        """Send so many packed commands, which may be sent twice without harm, and return their answers.

        Every call uses the same idle connections, so that what has been tried out is what is used next. redis-py's own
        calls cost three times the processor time: each one takes a connection out of the pool, tries it, and starts a
        task and two timers.
        """
        if self._idle:
            # If the server has closed it meanwhile, this is only noticed now, and is no outage.
            with suppress(NoConnection):
                return await self._call_on(self._idle.pop(), commands, count)
        return await self._call_on(None, commands, count)

    async def _call_on(self, connection: Any, commands: bytes, count: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s):  # one limit for the call, instead of one for each half
                connection = connection or await self._pool.get_connection()
                return await self._exchange(connection, commands, count)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._timeout_s} s") from None

    async def _exchange(self, connection: Any, commands: bytes, count: int) -> list[Any]:
        connection.socket_timeout = None
        try:
            await connection.send_packed_command(commands, check_health=False)
            answers = [await _read(connection) for _ in range(count)]
        except BaseException:
            await self._drop(connection)  # a part of the answers may be left
            raise
        self._idle.append(connection)
        if any(isinstance(answer, _REPLICA) for answer in answers):
            await self._reconnect()  # the address may lead to another server by now: to the new primary
        return answers

    async def _reconnect(self, keep: int = 0) -> None:
        """Close the idle connections, except the `keep` that were used last."""
        dropped = self._idle[: len(self._idle) - keep]
        del self._idle[: len(dropped)]
        for connection in dropped:
            await self._drop(connection)

    async def _drop(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        connection.socket_timeout = self._timeout_s
        await self._pool.release(connection)

    async def read_identity(self) -> str | None:
        """Return what changes when this server may have lost writes. None if it does not say it.

        It is the server's run id, which changes at a restart, and after a colon the id of its replication (empty if it
        is not told), which changes when a replica takes over: also when it had been the primary before.
        """
        told = await self._call_one(packed("INFO", "server", "replication"))
        found = {name: value.decode() for name, value in _IDENTITY.findall(told)}
        before, self.identity = self.identity, None
        if b"run_id" in found:
            self.identity = f"{found[b'run_id']}:{found.get(b'master_replid', '')}"
        if self.identity != before:
            await self._reconnect(keep=1)  # the last one has answered, the others may lead to the server before it
        return self.identity


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as refusal:
        return refusal
