"""The command `orderflow`: finds the subcommand, runs it, and turns failures into one line and an exit code."""

import asyncio
import importlib
import sys

import click

from engine.tracing import leave_out
from orderflow.exits import CANNOT_START, OrderflowError
from orderflow.settings import SettingError

SUBCOMMANDS = {
    "brake": "orderflow.commands.brake:brake",
    "dlq": "orderflow.commands.dlq:dlq",
    "doctor": "orderflow.commands.doctor:doctor",
    "engine": "orderflow.commands.engine:engine",
    "lag": "orderflow.commands.lag:lag",
    "migrate": "orderflow.commands.migrate:migrate",
    "offsets": "orderflow.commands.offsets:offsets",
    "prune": "orderflow.commands.prune:prune",
    "publish": "orderflow.commands.publish:publish",
    "serve": "orderflow.commands.serve:serve",
    "services": "orderflow.commands.services:services",
    "topics": "orderflow.commands.topics:topics",
    "trace": "orderflow.commands.trace:trace",
    "worker": "orderflow.commands.worker:worker",
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is asked for, so that `orderflow publish` never loads the server."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names of all subcommands, sorted."""
        return sorted(SUBCOMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import the subcommand `name`, or return None when there is none of that name."""
        if name not in SUBCOMMANDS:
            return None
        module, _, attribute = SUBCOMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="orderflow", prog_name="orderflow")
def root() -> None:
    """Take orders from Kafka into PostgreSQL exactly once, keep them in Redis, and serve them over HTTP."""


def main() -> None:
    """Run the command line and exit with one of the documented codes: 0, 1, 2 or 3."""
    leave_out()
    try:
        root()
    except SettingError as error:
        click.echo(f"orderflow: {error}", err=True)
        sys.exit(CANNOT_START)
    except OrderflowError as error:
        click.echo(f"orderflow: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


if __name__ == "__main__":
    main()
