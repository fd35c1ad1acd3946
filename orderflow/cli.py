"""The command `orderflow`: finds the subcommand, runs it, and turns failures into one line and an exit code."""

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click
import structlog

from engine.telemetry.tracing import leave_out
from orderflow.exits import CANNOT_START, FAILED, INTERRUPTED, OrderflowError
from orderflow.help import Group
from orderflow.standard_output import OutputClosed, guard_standard_output
from orderflow.start.settings import SettingError

SECTIONS = {
    "Set up": {
        "services": "Start, stop or show PostgreSQL, Valkey and Kafka on this machine.",
        "migrate": "Bring the database to the newest schema.",
        "topics": "Create the topics.",
        "doctor": "Find out what is wrong, and what mends it.",
    },
    "Run": {
        "engine": "Take orders from Kafka into PostgreSQL and Redis.",
        "serve": "Serve the page and the orders over HTTP.",
        "publish": "Send made-up orders, or a file of them.",
    },
    "Watch": {
        "lag": "How far behind the engine is.",
        "trace": "An order's whole way, by its uid.",
        "offsets": "Show or reset PostgreSQL's offsets.",
    },
    "Mend": {
        "dlq": "List, show or replay dead letters.",
        "brake": "Show or release the brake on too many rejections.",
        "prune": "Delete resolved dead letters and old batches.",
    },
}
SUBCOMMANDS = [*(name for section in SECTIONS.values() for name in section), "worker"]
EXIT_CODES = (
    "0 done; 1 failed; 2 wrong usage; 3 cannot start until what the message names is mended; 130 Ctrl-C; "
    "141 nobody reads the output any more (| head)"
)


class LazyGroup(Group):
    """A group that imports a subcommand when it is asked for, so that `orderflow publish` never loads the server."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names of all subcommands."""
        return SUBCOMMANDS

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import the subcommand `name`, or return None when there is none of that name."""
        if name not in SUBCOMMANDS:
            return None
        command = getattr(importlib.import_module(f"orderflow.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands by what they are for, and the exit codes."""
        width = max(map(len, SUBCOMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", what) for name, what in commands.items()])
        with formatter.section("Exit codes"):
            formatter.write_text(EXIT_CODES)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples={
        "orderflow doctor": "whatever the trouble is, begin here",
        "orderflow publish 1000": "some orders to play with",
        "orderflow dlq replay --help": "every command explains itself",
    },
)
@click.version_option(package_name="orderflow", prog_name="orderflow")
def root() -> None:
    """Take orders from Kafka into PostgreSQL exactly once, keep them in Redis, and serve them over HTTP."""


def run() -> None:
    """Run the command line and exit with one of the documented codes."""
    leave_out()
    guard_standard_output()
    try:
        code = root.main(prog_name="orderflow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        _exit(error.exit_code)
    except click.ClickException as error:
        _exit(error.exit_code, _told(error))
    except click.Abort:
        _exit(INTERRUPTED)
    except SettingError as error:
        _exit(CANNOT_START, str(error))
    except OutputClosed as error:
        _exit(error.exit_code)
    except OrderflowError as error:
        _exit(error.exit_code, str(error))
    except Exception as error:
        if structlog.is_configured() or os.environ.get("LOG_LEVEL", "").lower() == "debug":
            raise
        _exit(FAILED, _defect(error))
    _exit(code if isinstance(code, int) else 0)


def _exit(code: int, message: str | None = None) -> None:
    if message is not None:
        with suppress(OSError):  # the code still tells
            click.echo(f"orderflow: {message}", err=True)
    sys.exit(code)


def _told(error: click.ClickException) -> str:
    """Return what is wrong with the usage, and where to read on, in one line."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See `{context.command_path} --help`"


def _defect(error: BaseException) -> str:
    """Return where an exception that nobody expected came from; not its text, which may quote data."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"this is a defect: {type(error).__name__} in {places}; LOG_LEVEL=debug shows all of it"
