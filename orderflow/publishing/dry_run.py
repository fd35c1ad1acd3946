"""A dry run of the publisher: what would be sent, and what of it the engine would reject."""

from collections.abc import AsyncIterator

import attrs
import click

from engine.verdict import FieldError, Rejected
from handlers.decode import decode_order
from orderflow.exits import Failed
from orderflow.publishing.messages import Message
from orderflow.publishing.run import Tally
from orderflow.terminal import json_line, printable

Numbered = tuple[int, Message]
"""A message with the number of its line, or of the generated message."""


@attrs.frozen
class Examined:
    """A message that would be sent, with the number of its line, or of the generated message.

    `reason` and `errors` say why it would become a dead letter; they are None and empty if it is valid. `order_uid` is
    None if it cannot be read.
    """

    number: int
    order_uid: str | None
    reason: str | None = None
    errors: tuple[FieldError, ...] = ()


def examine(number: int, value: bytes | None) -> Examined:
    """Return what the engine would make of the message with this value."""
    decoded = decode_order(value)
    if isinstance(decoded, Rejected):
        return Examined(number, decoded.subject, decoded.reason, decoded.errors)
    return Examined(number, decoded.order_uid)


async def show_dry_run(messages: AsyncIterator[Numbered], topic: str, *, from_file: bool, as_json: bool) -> None:
    """Print what would be sent to the topic, message by message. Raises `Failed` if some of it is invalid."""
    tally, unit = Tally(), "line" if from_file else "message"
    report = (_JsonReport if as_json else _TextReport)(topic, unit)
    report.begin()
    try:
        async for number, message in messages:
            tally.add([message], [message])
            report.add(examine(number, message.value))
    finally:
        report.end(tally)  # what was examined before an error is reported, in whole JSON
    if tally.invalid:
        share = f"{tally.invalid} of {_counted(tally.sent, 'message')}"
        raise Failed(f"{share} would become {'a dead letter' if tally.invalid == 1 else 'dead letters'}")


@attrs.define
class _TextReport:
    """Lines for people: each message with its verdict, below it its errors."""

    topic: str
    unit: str

    def begin(self) -> None:
        click.echo(f"--- Dry run: nothing is sent to the topic {self.topic!r} ---")

    def add(self, examined: Examined) -> None:
        uid = "–" if examined.order_uid is None else printable(examined.order_uid)
        click.echo(f"{self.unit} {examined.number}  {examined.reason or 'valid'}  {uid}")
        for error in examined.errors:
            click.echo(f"  {error.path or '(the message)'}: {error.message}")

    def end(self, tally: Tally) -> None:
        parts = [_counted(len(tally.uids), "order")]
        parts += [f"{tally.repeated} repeated"] if tally.repeated else []
        parts += [f"{tally.invalid} invalid"] if tally.invalid else []
        click.echo(f"--- {_counted(tally.sent, 'message')}: {', '.join(parts)} ---")


@attrs.define
class _JsonReport:
    """One object, written piece by piece: a file of any length is reported in little memory."""

    topic: str
    unit: str
    separator: str = ""

    def begin(self) -> None:
        click.echo(f'{{"dry_run":true,"topic":{json_line(self.topic)},"examined":[', nl=False)

    def add(self, examined: Examined) -> None:
        entry = attrs.asdict(examined, recurse=False)
        entry = {self.unit: entry.pop("number"), **entry}
        click.echo(f"{self.separator}{json_line(entry)}", nl=False)
        self.separator = ","

    def end(self, tally: Tally) -> None:
        counts = {
            "messages": tally.sent,
            "orders": len(tally.uids),
            "repeated": tally.repeated,
            "invalid": tally.invalid,
        }
        click.echo(f"],{json_line(counts)[1:]}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
