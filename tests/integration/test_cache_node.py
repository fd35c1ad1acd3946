"""The connections of a node: who has which, and what happens when one is lost."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from handlers.cache_node import Node, packed
from handlers.cache_scripts import PUT_NEWER
from orderflow.start.connections import redis_client
from orderflow.start.settings import Settings

MARK = b'","updated_at":"'


def body(second: int) -> bytes:
    return b'{"x":"' + MARK + b'2026-01-01T00:00:%02d.000000Z"}' % second


async def put(node: Node, second: int) -> Any:
    return await node.run(PUT_NEWER, [b"order:x"], [60, 30, MARK, body(second)])


async def test_a_connection_that_the_server_has_closed_is_replaced(settings: Settings, redis: Redis) -> None:
    """An idle one may be: nobody is told of an outage, and the script runs."""
    async with redis_client(settings) as own:
        node = Node(own)
        assert await put(node, 1) == 0
        for second in (2, 3):
            await redis.client_kill_filter(_id=await node._call_one(packed("CLIENT", "ID")))
            assert await put(node, second) == 0
            assert await redis.get("order:x") == body(second)


async def test_calls_at_the_same_time_get_their_own_answers(settings: Settings, redis: Redis) -> None:
    """Each has a connection of its own meanwhile."""
    async with redis_client(settings) as own:
        node = Node(own)
        echoes = [str(number).encode() for number in range(5)]
        assert await asyncio.gather(*(node._call_one(packed("ECHO", echo)) for echo in echoes)) == echoes


async def test_a_cancelled_call_leaves_no_answer_behind(settings: Settings, redis: Redis) -> None:
    """The next caller would take it for its own."""
    async with redis_client(settings) as own:
        node = Node(own)
        assert await node._call_one(packed("ECHO", b"before")) == b"before"
        call = asyncio.create_task(node._call_one(packed("ECHO", b"cancelled")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
        assert await node._call_one(packed("ECHO", b"after")) == b"after"
