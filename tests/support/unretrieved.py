"""What a program's log says of errors that nobody has looked at: of a task or a future that failed unseen."""

from tests.support.programs import Running

_SIGNS = ("was never retrieved", "was never awaited", "Task was destroyed but it is pending")


def unretrieved(*programs: Running) -> list[str]:
    """Return the lines of the programs' standard error that tell of such an error."""
    return [line for program in programs for line in program.stderr_lines if any(sign in line for sign in _SIGNS)]
