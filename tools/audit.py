"""`python -m tools.audit`, in the project's folder: the locks are whole, and nothing they name has known holes."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from tools.advisories import Unknown, judge, known_advisories, read_exemptions
from tools.locks import Lock, differences, installed, read_lock

LOCKS = (
    Path("requirements.lock"),
    Path("bench", "requirements.lock"),
    Path("tests", "browser", "recording", "requirements.lock"),
    Path("docs", "requirements.lock"),
)
"""That of `.venv` first; then those that single targets of the Makefile add to it, or install beside it."""
_OTHER_HASH = re.compile(r"^    ([\w.-]+==\S+)", re.MULTILINE)


def audit_form(locks: list[Lock]) -> list[str]:
    """Return the lines of the locks that are not exact versions with sha256 hashes."""
    return [fault for lock in locks for fault in lock.faults]


def audit_installed(locks: list[Lock]) -> list[str]:
    """Return how `.venv` differs from the locks."""
    wanted, *allowed = locks
    return differences(installed(), wanted, allowed, own="orderflow")


def audit_index(locks: list[Lock]) -> list[str]:
    """Return what the package index offers with another hash, or not at all. Nothing is installed."""
    return [failure for lock in locks for failure in _refusals(lock.path)]


def _refusals(lock: Path) -> list[str]:
    options = [
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--require-hashes",
        "--no-input",
        "--retries",
        "1",
        "--quiet",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--requirement", str(lock)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 0:
        return []
    changed = _OTHER_HASH.findall(ended.stderr)
    if changed:
        return [f"{lock}: {package} has another hash in the index" for package in changed]
    told = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")] or ["pip failed"]
    return [f"{lock}: {told[-1].removeprefix('ERROR: ')}"]


def audit_advisories(locks: list[Lock]) -> list[str]:
    """Return the known vulnerabilities that no exemption covers, or why they cannot be known."""
    try:
        exemptions = read_exemptions(Path("pyproject.toml"))
        return judge(known_advisories([lock.path for lock in locks]), exemptions, datetime.now(UTC).date())
    except (Unknown, ValueError) as error:
        return [str(error)]


CHECKS: dict[str, tuple[Callable[[list[Lock]], list[str]], str]] = {
    "form": (audit_form, "the locks name exact versions with sha256 hashes alone"),
    "installed": (audit_installed, ".venv holds what the locks say, and nothing else"),
    "index": (audit_index, "the package index offers the files that the hashes are of"),
    "advisories": (audit_advisories, "no package has a known vulnerability"),
}


@click.command()
@click.argument("checks", nargs=-1, type=click.Choice(list(CHECKS)))
def main(checks: tuple[str, ...]) -> None:
    """Make all CHECKS, or those that are named, and exit with 1 when one fails. Each failure is one line."""
    locks = [read_lock(path) for path in LOCKS]
    failed = False
    for name in checks or CHECKS:
        check, promise = CHECKS[name]
        failures = check(locks)
        failed = failed or bool(failures)
        for failure in failures:
            click.echo(f"FAILED  {name}: {failure}")
        if not failures:
            click.echo(f"ok      {name}: {promise}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
