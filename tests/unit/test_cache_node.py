"""A command is packed as redis-py packs it."""

from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection

from handlers.cache_node import packed

arguments = st.lists(st.binary(max_size=20) | st.integers() | st.text(max_size=20), max_size=8)
large = st.just([bytes(10_000), b"", "order:é", 2**63])


@given(values=arguments | large)
def test_a_command_has_the_bytes_that_redis_py_would_send(values: list[bytes | int | str]) -> None:
    """Whatever its arguments are."""
    assert packed("EVALSHA", *values) == b"".join(Connection().pack_command("EVALSHA", *values))
