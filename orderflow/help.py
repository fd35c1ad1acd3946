"""Commands whose `--help` ends with examples."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

import click

from orderflow.terminal import printable


class Command(click.Command):
    """A command with examples: complete command lines, each with a short explanation."""

    def __init__(self, *arguments: Any, examples: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = examples

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse as click does. An unknown option may be meant as the argument: then the error says how to write it."""
        words = list(args)
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            takes_uid = any(isinstance(one, click.Argument) and one.type.name == "UID" for one in self.params)
            if error.possibilities or not takes_uid:
                raise
            word = next((word for word in words if word.startswith(error.option_name)), error.option_name)
            hint = f"If it is a uid, write `{context.command_path} -- {printable(quote(word))}`"
            raise click.NoSuchOption(error.option_name, f"{error.message} {hint}", ctx=context) from None

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section Examples. Its lines are not wrapped, so that they can be copied into a shell."""
        width = max(map(len, self.examples))
        with formatter.section("Examples"):
            for line, explanation in self.examples.items():
                formatter.write(f"{'':{formatter.current_indent}}{line:{width}}  # {explanation}\n")
        super().format_epilog(context, formatter)


class Group(Command, click.Group):
    """A group of such commands, with examples of its own."""

    command_class = Command
