"""`orderflow publish`: sends orders to the topic, and prints the uids of the acknowledged ones."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import IO, Any

import attrs
import click

from engine.telemetry.trace_context import TRACEPARENT, new_traceparent, parse_traceparent
from orderflow.help import Command
from orderflow.parameters import WholeNumber
from orderflow.publishing.messages import Message, generate_messages, read_messages
from orderflow.publishing.run import publish_all
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import load_settings

DEFAULT_COUNT = 50
RANDOM = "random"


class _Finite(click.FloatRange):
    """A range of floats without "nan" and "inf"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


_SHARE = _Finite(min=0, max=1)


class _Trace(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """A traceparent, or "random"."""

    name = "VALUE|random"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        traceparent = RANDOM if value == RANDOM else parse_traceparent(str(value))
        return traceparent or self.fail("must be random, or 00-TRACE_ID-PARENT_ID-FLAGS in lower-case hex", param, ctx)


@click.command(
    cls=Command,
    examples={
        "orderflow publish": "50 orders",
        "orderflow publish 1000 --rate 20 --invalid 0.1": "20/s, 10 % invalid",
        "orderflow publish 10 --seed 7": "the same 10 every time",
        "orderflow publish --file orders.jsonl": "one order per line",
    },
)
@click.argument("count", type=WholeNumber(min=0), required=False)
@click.option(
    "--rate",
    type=_Finite(min=0, min_open=True),
    metavar="NUMBER",
    help="Messages per second. Default: as fast as possible.",
)
@click.option("--seed", type=int, metavar="NUMBER", help="The same seed makes the same orders. Default: random.")
@click.option("--invalid", type=_SHARE, metavar="FRACTION", help="The share of invalid messages. Default: 0.")
@click.option(
    "--repeat", type=_SHARE, metavar="FRACTION", help="The share of messages that repeat an earlier order. Default: 0."
)
@click.option(
    "--file",
    type=click.File("rb"),
    help="Send each line of this file (-: standard input) unchanged, without blank lines.",
)
@click.option("--traceparent", type=_Trace(), help="Add this W3C trace context to each message, or a random one.")
def publish(
    *,
    count: int | None,
    rate: float | None,
    seed: int | None,
    invalid: float | None,
    repeat: float | None,
    file: IO[bytes] | None,
    traceparent: str | None,
) -> None:
    """Publish COUNT generated orders (50), or the lines of a file, and print the uid of each acknowledged order.

    Invalid messages are counted, not printed. A uid is printed once, even if it was sent several times.
    """
    if file is not None:
        generator_options = {"COUNT": count, "--seed": seed, "--invalid": invalid, "--repeat": repeat}
        for name, value in generator_options.items():
            if value is not None:
                raise click.UsageError(f"{name} cannot be combined with --file.")
    if (invalid or 0) + (repeat or 0) > 1:
        raise click.UsageError("the sum of --invalid and --repeat must be at most 1.")
    settings = load_settings()
    quieten_libraries(settings)
    total = None
    if file is not None:
        messages = read_messages(file.fileno())
    else:
        total = DEFAULT_COUNT if count is None else count
        generated = generate_messages(seed, invalid_share=invalid or 0, repeat_share=repeat or 0)
        messages = _asynchronous(islice(generated, total))
    if traceparent is not None:
        messages = _traced(messages, traceparent)
    asyncio.run(publish_all(settings, messages, rate=rate, total=total))


async def _asynchronous(messages: Iterator[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def _traced(messages: AsyncIterator[Message], traceparent: str) -> AsyncIterator[Message]:
    async for message in messages:
        value = new_traceparent() if traceparent == RANDOM else traceparent
        yield attrs.evolve(message, headers=(*message.headers, (TRACEPARENT, value.encode())))
