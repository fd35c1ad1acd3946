"""Exit codes, and the exceptions of failed commands. An exception's message is one line for the user."""

FAILED = 1
WRONG_USAGE = 2
CANNOT_START = 3
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended, as shells report it."""


class OrderflowError(Exception):
    """A failure with a message for people and an exit code for programs."""

    exit_code = FAILED


class Failed(OrderflowError):
    """The command failed; trying again may help. Exit code 1."""


class WrongInput(OrderflowError):
    """What the command was given to read is of another form than it takes: nothing was done. Exit code 2."""

    exit_code = WRONG_USAGE


class CannotStart(OrderflowError):
    """A restart will not help: the message names the setting or the command that fixes it. Exit code 3."""

    exit_code = CANNOT_START
