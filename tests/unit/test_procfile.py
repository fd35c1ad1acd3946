"""The Procfile starts the engine and the HTTP server, and nothing that must outlive them."""

import shlex
from pathlib import Path

from honcho.environ import parse_procfile

from orderflow.cli import SUBCOMMANDS

PROCFILE = Path(__file__).parents[2] / "Procfile"


def processes() -> dict[str, str]:
    return dict(parse_procfile(PROCFILE.read_text()).processes)


def test_it_starts_the_engine_and_the_http_server() -> None:
    """Services stay out of it: Ctrl-C would stop PostgreSQL before the engine has drained."""
    assert set(processes()) == {"engine", "http"}


def test_every_command_exists() -> None:
    """A process of the Procfile is a subcommand of orderflow."""
    for command in processes().values():
        path, execute, program, subcommand, *_ = shlex.split(command)
        assert path == "PATH=$PWD/.venv/bin:$PATH"  # found whether or not the environment is activated
        assert execute == "exec"  # no shell in between: signals and exit codes are the program's own
        assert program == "orderflow"
        assert subcommand in SUBCOMMANDS
