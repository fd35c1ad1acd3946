"""Sets up another revision of this repository in a temporary folder, to compare it with this one."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from os.path import realpath
from pathlib import Path

import attrs

from bench.builds import Build
from bench.programs import program
from orderflow.start.project import project_root

_CLONE_TIMEOUT_S = 300.0
_SETUP_TIMEOUT_S = 1800.0
_GIT_TIMEOUT_S = 30
_SHORT = 10
_PYTHON = realpath(sys.executable)
"""The Python that created the current virtual environment, not the one inside it."""
# If this runs inside `make bench`, its options and variables must not reach the other revision's `make`. If it runs
# inside a git hook, the hook's variables name this repository.
_GIT = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "-u", "GIT_INDEX_FILE", "git"]
_MAKE_OF_ITS_OWN = dict.fromkeys(("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"), "")


class NoRevision(Exception):
    """The name is not a commit of this repository, or there is no repository."""


@attrs.frozen
class Revision:
    """A commit: its full id, the subject of its message, and its date."""

    id: str
    subject: str
    date: str

    @property
    def title(self) -> str:
        """The commit in one line."""
        return f"{self.id[:_SHORT]} of {self.date} ({self.subject})"


def find_revision(name: str, root: Path | None = None) -> Revision:
    """Return the commit with this name in the repository at `root` (default: this one). Raises `NoRevision`."""
    asked = ["rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}"]
    folder = root or project_root()
    commit = _git(asked, folder)
    if not commit:
        raise NoRevision(f"{name!r} is not a commit of the git repository in {folder}")
    subject, date = _git(["show", "--no-patch", "--format=%s%n%cs", commit], folder).split("\n")
    return Revision(commit, subject, date)


def _git(arguments: list[str], folder: Path) -> str:
    """Return git's output, or an empty text if git fails. Raises `NoRevision` if git cannot be started."""
    try:
        done = subprocess.run(
            [*_GIT, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoRevision(f"git cannot be run: {error}") from None
    return done.stdout.strip() if done.returncode == 0 else ""


@asynccontextmanager
async def base_build(revision: Revision, repository: Path | None = None) -> AsyncIterator[Build]:
    """Provide a build of `revision` of `repository` (default: this one). Its own `make setup` builds it.

    It uses the Python of this build. Raises `ProgramFailed` with the last lines of the command that failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="orderflow-base-"))
    try:
        root = folder / "checkout"
        # --shared: the clone uses the objects of this repository, and nothing is written to this repository.
        source = str(repository or project_root())
        await _run("clone", [*_GIT, "clone", "--quiet", "--shared", "--no-checkout", source, str(root)], folder)
        await _run("checkout", [*_GIT, "-C", str(root), "checkout", "--quiet", "--detach", revision.id], folder)
        setup = ["make", "-C", str(root), "setup", f"PYTHON={_PYTHON}"]
        await _run("make setup", setup, folder, _MAKE_OF_ITS_OWN, _SETUP_TIMEOUT_S)
        yield Build("base", root, root / ".venv" / "bin" / "python")
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _run(
    title: str,
    command: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = _CLONE_TIMEOUT_S,
) -> None:
    root = folder / "checkout"
    async with program(f"{title} of base", command, environment or {}, folder, root=root) as running:
        await running.wait(timeout_s)
