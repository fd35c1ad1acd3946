"""`orderflow publish`: sends orders to the topic, and prints the uids of the acknowledged ones."""

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import IO, Any

import attrs
import click

from engine.telemetry.trace_context import TRACEPARENT, new_traceparent, parse_traceparent
from orderflow.exits import WrongInput
from orderflow.help import Command
from orderflow.parameters import WholeNumber
from orderflow.publishing.dry_run import Numbered, show_dry_run
from orderflow.publishing.file_form import describe_form
from orderflow.publishing.lines import Lines
from orderflow.publishing.messages import Message, generate_messages, message_of
from orderflow.publishing.run import publish_all
from orderflow.start.logs import quieten_libraries
from orderflow.start.settings import load_settings
from orderflow.terminal import printable

DEFAULT_COUNT = 50
_MOST = 10**12
RANDOM = "random"
_STANDARD_INPUT = "<stdin>"


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
        "orderflow publish --file orders.jsonl --dry-run": "only check the lines",
    },
)
@click.argument("count", type=WholeNumber(min=0, max=_MOST), required=False)
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
@click.option("--dry-run", is_flag=True, help="Send nothing: show what would be sent, and what of it is invalid.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: one object on standard output.")
@click.option("--traceparent", type=_Trace(), help="Add this W3C trace context to each message, or a random one.")
def publish(
    *,
    count: int | None,
    rate: float | None,
    seed: int | None,
    invalid: float | None,
    repeat: float | None,
    file: IO[bytes] | None,
    dry_run: bool,
    as_json: bool,
    traceparent: str | None,
) -> None:
    """Publish COUNT generated orders (50), or the lines of a file, and print the uid of each acknowledged order.

    Invalid messages are counted, not printed. A uid is printed once, even if it was sent several times.

    Nothing is sent of a file that is not JSON lines (a document over several lines, an array, a byte-order mark, CSV):
    exit code 2, with the command that converts it. --dry-run needs no Kafka, and exits 1 if a message is invalid.
    """
    if file is not None:
        generator_options = {"COUNT": count, "--seed": seed, "--invalid": invalid, "--repeat": repeat}
        for name, value in generator_options.items():
            if value is not None:
                raise click.UsageError(f"{name} cannot be combined with --file.")
    if (invalid or 0) + (repeat or 0) > 1:
        raise click.UsageError("the sum of --invalid and --repeat must be at most 1.")
    if as_json and not dry_run:
        raise click.UsageError("--json needs --dry-run.")
    settings = load_settings()
    quieten_libraries(settings)
    total = DEFAULT_COUNT if count is None else count
    generated = enumerate(generate_messages(seed, invalid_share=invalid or 0, repeat_share=repeat or 0), start=1)

    async def run() -> None:
        numbered = (
            _asynchronous(islice(generated, total)) if file is None else await _messages_of(file, dry_run=dry_run)
        )
        if dry_run:
            await show_dry_run(numbered, settings.kafka_topic, from_file=file is not None, as_json=as_json)
            return
        messages = _without_numbers(numbered, traceparent)
        await publish_all(settings, messages, rate=rate, total=total if file is None else None)

    asyncio.run(run())


async def _messages_of(file: IO[bytes], *, dry_run: bool) -> AsyncIterator[Numbered]:
    """Return the messages of a file's lines. Raises `WrongInput` if it is not JSON lines."""
    lines = Lines(file.fileno())
    if form := await lines.look():
        send = f"{_program()} publish --file -{' --dry-run' if dry_run else ''}"
        raise WrongInput(describe_form(form, None if file.name == _STANDARD_INPUT else file.name, send))
    return ((number, message_of(line)) async for number, line in lines)


def _program() -> str:
    """Return how this program was called: it may not be in the PATH."""
    return printable(quote(sys.argv[0])) if Path(sys.argv[0]).name == "orderflow" else "orderflow"


async def _asynchronous(messages: Iterator[Numbered]) -> AsyncIterator[Numbered]:
    for message in messages:
        yield message


async def _without_numbers(numbered: AsyncIterator[Numbered], traceparent: str | None) -> AsyncIterator[Message]:
    """Yield the messages, with this trace context if it is given."""
    async for _, message in numbered:
        if traceparent is None:
            yield message
        else:
            value = new_traceparent() if traceparent == RANDOM else traceparent
            yield attrs.evolve(message, headers=(*message.headers, (TRACEPARENT, value.encode())))
