"""The command `orderflow`: runs the subcommand, and turns failures into one line and an exit code."""

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click
import structlog

from orderflow.exits import CANNOT_START, FAILED, INTERRUPTED, OrderflowError
from orderflow.help import Group
from orderflow.standard_output import OutputClosed, guard_standard_output
from orderflow.start.migrations import latest_version
from orderflow.start.named import with_values
from orderflow.start.settings import SettingError

SECTIONS = {
    "Set up": {
        "services": "Start, stop or show PostgreSQL, Valkey and Kafka on this machine.",
        "migrate": "Bring the database to the newest schema.",
        "topics": "Create the topics.",
        "doctor": "Check the set-up, and say how to fix each problem.",
    },
    "Run": {
        "engine": "Take orders from Kafka into PostgreSQL and Redis.",
        "serve": "Serve the page and the orders over HTTP.",
        "publish": "Send generated orders, or orders from a file.",
        "pause": "Stop consuming, everything or one partition, until resumed.",
        "resume": "Consume again what was paused.",
    },
    "Watch": {
        "lag": "Show how far behind the engine is.",
        "trace": "Show all processing steps of an order, by its uid.",
        "offsets": "Show or reset PostgreSQL's offsets.",
    },
    "Repair": {
        "dlq": "List, show or replay dead letters.",
        "brake": "Show or release the brake on too many rejections.",
        "prune": "Delete resolved dead letters and old batches.",
    },
}
SUBCOMMANDS = [*(name for section in SECTIONS.values() for name in section), "worker"]
EXIT_CODES = (
    "0 done; 1 failed; 2 wrong usage; 3 cannot start until the problem in the message is fixed; 130 Ctrl-C; "
    "141 output closed (| head)"
)


class LazyGroup(Group):
    """A group that imports a subcommand only when it is called, so that `orderflow publish` never loads the server."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names of all subcommands."""
        return SUBCOMMANDS

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import and return the subcommand `name`, or return None when there is no such subcommand."""
        if name not in SUBCOMMANDS:
            return None
        command = getattr(importlib.import_module(f"orderflow.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands by purpose, and the exit codes."""
        width = max(map(len, SUBCOMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", purpose) for name, purpose in commands.items()])
        with formatter.section("Exit codes"):
            formatter.write_text(EXIT_CODES)


def show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the versions of this build: of the program, and of the schema that `orderflow migrate` makes."""
    if not wanted or context.resilient_parsing:
        return
    # It takes a fifth of the start of every command.
    from importlib.metadata import version  # noqa: PLC0415

    try:
        schema = latest_version()
    except OrderflowError:
        schema = "unknown"
    click.echo(f"orderflow {version('orderflow')} (schema {schema})")
    context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples={
        "orderflow doctor": "start here with any problem",
        "orderflow publish 1000": "some orders to try things out",
        "orderflow dlq replay --help": "every command has its own help",
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version, with that of the newest migration, and exit.",
)
def root() -> None:
    """Store orders from Kafka in PostgreSQL exactly once, cache them in Redis, and serve them over HTTP."""


def run() -> None:
    """Run the command line and exit with one of the documented codes."""
    guard_standard_output()
    try:
        code = root.main(prog_name="orderflow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        _exit(error.exit_code)
    except click.ClickException as error:
        _exit(error.exit_code, _usage_message(error))
    except click.Abort:
        _exit(INTERRUPTED)
    except SettingError as error:
        _exit(CANNOT_START, str(error))
    except OutputClosed as error:
        _exit(error.exit_code)
    except OrderflowError as error:
        _exit(error.exit_code, with_values(str(error)))
    except Exception as error:
        if structlog.is_configured() or os.environ.get("LOG_LEVEL", "").lower() == "debug":
            raise
        _exit(FAILED, _defect(error))
    _exit(code if isinstance(code, int) else 0)


def _exit(code: int, message: str | None = None) -> None:
    if message is not None:
        with suppress(OSError):  # the exit code still reports the failure
            click.echo(f"orderflow: {message}", err=True)
    sys.exit(code)


def _usage_message(error: click.ClickException) -> str:
    """Return one line that says what is wrong with the usage, and which help to read."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See `{context.command_path} --help`"


def _defect(error: BaseException) -> str:
    """Return where an unexpected exception was raised; not its text, which may quote data."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"this is a defect: {type(error).__name__} in {places}; LOG_LEVEL=debug shows all of it"
