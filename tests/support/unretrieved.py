"""Finds asyncio's log lines about errors of a task or a future that were never retrieved."""

from tests.support.programs import Running

_SIGNS = ("was never retrieved", "was never awaited", "Task was destroyed but it is pending")


def unretrieved(*programs: Running) -> list[str]:
    """Return the lines in the programs' standard error about such errors."""
    return [line for program in programs for line in program.stderr_lines if any(sign in line for sign in _SIGNS)]
