"""Commands whose `--help` ends with examples."""

from collections.abc import Mapping
from typing import Any

import click


class Command(click.Command):
    """A command with examples: complete command lines, each with a short explanation."""

    def __init__(self, *arguments: Any, examples: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = examples

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
