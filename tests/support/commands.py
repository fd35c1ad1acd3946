"""Finds the command of orderflow that a file of a deployment runs."""

import click


def resolve(command: list[str]) -> click.Command:
    """Return the click command that `orderflow …` runs; fails when there is none."""
    from orderflow.cli import root

    assert command[0] == "orderflow", command
    found: click.Command = root
    for word in command[1:]:
        if not isinstance(found, click.Group):
            break
        child = found.get_command(click.Context(found), word)
        assert child is not None, command
        found = child
    assert not isinstance(found, click.Group), command
    return found
