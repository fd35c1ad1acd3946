"""Every `--help` fits on a screen and ends with examples that work; what the documentation calls exists."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from orderflow import __main__
from orderflow.cli import SECTIONS, root
from orderflow.start.settings import variables

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/commands.md",
    "docs/dead-letters.md",
    "docs/deployment.md",
    "docs/guide.md",
    "docs/http.md",
    "docs/on-call.md",
    "docs/producing.md",
    "docs/tracing.md",
    "docs/scaling.md",
    "docs/partitioning.md",
    "docs/permissions.md",
    "docs/guarantees.md",
    "docs/performance.md",
    "docs/on-call.md",
)
WIDTH, HEIGHT = 80, 40


def children(command: click.Command) -> dict[str, click.Command]:
    """Return the subcommands that people are told of."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: child for name, child in found.items() if child is not None and not child.hidden}


def commands(
    path: tuple[str, ...] = (), command: click.Command = root
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that people are told of, with the words that lead to it."""
    yield path, command
    for name, child in children(command).items():
        yield from commands((*path, name), child)


COMMANDS = dict(commands())
EVERY = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "orderflow")


def parse(line: str) -> None:
    """Parse a command line as the program would, without running it. Variables before it must be settings."""
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        name = words.pop(0).partition("=")[0]
        assert name in variables(), line
    assert words.pop(0).removeprefix(".venv/bin/") == "orderflow", line
    command, context = root, click.Context(root, info_name="orderflow")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        child = command.get_command(context, words[0])
        assert child is not None, line
        command, context = child, click.Context(child, context, info_name=words.pop(0))
    assert words == ["--help"] or not isinstance(command, click.Group), f"{line}: a subcommand is missing"
    with suppress(click.exceptions.Exit):  # --help ends it
        command.make_context(command.name, words, context.parent, help_option_names=["-h", "--help"])


@EVERY
def test_every_help_fits_on_a_screen(path: tuple[str, ...]) -> None:
    """Nothing in it is cut off, and all is said that there is to say."""
    result = CliRunner().invoke(root, [*path, "--help"], prog_name="orderflow")
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= HEIGHT
    assert "Examples:" in lines
    assert "..." not in "".join(lines[1:]), "a description is cut off"


@EVERY
def test_every_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    """And a number is no bare INTEGER RANGE."""
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name
            assert parameter.metavar or not isinstance(parameter.type, click.IntRange | click.FloatRange)


@EVERY
def test_every_example_works(path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are those of the command, in two to four lines."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.jsonl").touch()
    examples = COMMANDS[path].examples  # type: ignore[attr-defined]
    assert 2 <= len(examples) <= 4
    assert any(" ".join(("orderflow", *path)) in line for line in examples)
    for line in examples:
        parse(line)


def test_every_command_has_its_place_on_the_first_screen() -> None:
    """In one of the sections, by what it is for."""
    assert {name for section in SECTIONS.values() for name in section} == set(children(root))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_documentation_works(page: str) -> None:
    """Each line of a code block that calls orderflow parses."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        if line.startswith(".venv/bin/orderflow"):
            parse(line)


def test_the_documentation_names_commands_and_options_that_exist() -> None:
    """Each row of the table of commands, and every command has one."""
    table = (
        (ROOT / "docs" / "commands.md")
        .read_text(encoding="utf-8")
        .split("| `.venv/bin/orderflow …` | |\n|---|---|\n")[1]
    )
    told = set()
    for row in table.split("\n\n")[0].splitlines():
        names = [span.split()[0] for span in re.findall(r"`([^`]+)`", row.split("|")[1])]
        first = re.findall(r"`([^`]+)`", row.split("|")[1])[0].split()
        group = root.get_command(click.Context(root), first[0])
        assert group is not None, row
        inner = children(group)
        named = [word for word in first[1:] if word in inner] + [name for name in names[1:] if name in inner]
        assert not inner or sorted(named) == sorted(inner), row
        known = {option for one in (group, *inner.values()) for p in one.params for option in p.opts}
        assert set(re.findall(r"--[a-z-]+", row)) <= known, row
        told.add(first[0])
    assert told == set(children(root))


def test_ctrl_c_while_the_program_is_still_loaded_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as at any other time."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(__import__("sys").modules, "orderflow.cli", SimpleNamespace(run=interrupted))
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130
