"""Parameter types that several commands share."""

from datetime import UTC, datetime
from typing import Any

import click
from click.shell_completion import CompletionItem

from engine.dead_letters.list import parse_place
from engine.records import Place
from handlers.moments import parse_moment
from handlers.reasons import REASONS


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """An RFC 3339 time, or an age such as 15m."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> datetime:
        """Return the moment in UTC."""
        try:
            return parse_moment(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, context)


class PlaceType(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """A letter's place: PARTITION:OFFSET, as `dlq list` prints it."""

    name = "PARTITION:OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Place:
        """Return the partition and the offset."""
        try:
            return parse_place(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, context)


class Word(click.ParamType):  # type: ignore[type-arg]  # generic for its stubs only
    """Text that PostgreSQL can compare."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Return the text."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("must be UTF-8", param, context)
        if not text:
            self.fail("must not be empty", param, context)
        return text


class WholeNumber(click.IntRange):
    """A whole number. The error message names its limits."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """Return the number."""
        try:
            number: int = super().convert(value, param, context)
        except click.BadParameter:
            allowed = f"of at least {self.min:,}" if self.max is None else f"from {self.min:,} to {self.max:,}"
            self.fail(f"{str(value)!r} must be a whole number {allowed}", param, context)
        return number


class Reason(Word):
    """The reason of a rejection. The shell completes the reasons of orders; other pipelines may have others."""

    name = "REASON"

    def shell_complete(self, _context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the completions of `incomplete`."""
        return [CompletionItem(reason) for reason in REASONS if reason.startswith(incomplete)]
