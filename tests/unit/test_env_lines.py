"""The lines of `.env` that docker compose, honcho and orderflow do not read alike are named, and no other."""

import os
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from honcho.environ import parse
from hypothesis import given
from hypothesis import strategies as st

from orderflow.doctor.env_file_checks import examine_env_file
from orderflow.doctor.finding import Outcome
from orderflow.start.env_lines import odd_lines, same_everywhere
from tests.support.compose_readings import COMPOSE_READINGS

Reading = dict[str, str] | None
ALPHABET = [
    "a",
    "n",
    "t",
    "é",
    "=",
    "'",
    '"',
    "\\",
    "$",
    "{",
    "}",
    "#",
    " ",
    "\t",
    "\n",
    "\r\n",
    "K=",
    "\nL=",
    ":",
    "1",
]


def significant(values: dict[str, str | None]) -> dict[str, str]:
    """An empty value means the default, as if it was not there."""
    return {name: value for name, value in values.items() if value}


def by_compose(text: str) -> Reading:
    found = COMPOSE_READINGS[text]
    return found if found is None else significant(found if isinstance(found, dict) else {"K": found})


def by_honcho(text: str) -> Reading:
    """Return what honcho itself reads; None if it does not start."""
    try:
        return significant(parse(text))
    except ValueError:
        return None


def by_orderflow(text: str) -> Reading:
    return significant(dotenv_values(stream=StringIO(text)))


@pytest.fixture(autouse=True)
def the_environment_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/root")


@pytest.mark.parametrize("text", COMPOSE_READINGS, ids=repr)
def test_exactly_the_lines_are_named_that_somebody_reads_differently(text: str) -> None:
    """Judged by honcho's and orderflow's own parsers, and by what docker compose's has answered."""
    alike = by_compose(text) == by_honcho(text) == by_orderflow(text)
    assert (not list(odd_lines(text, ["K"]))) is alike


@given(st.lists(st.sampled_from(ALPHABET), max_size=12).map(lambda parts: "K=" + "".join(parts)))
def test_honcho_and_orderflow_read_alike_what_is_not_named(text: str) -> None:
    """Whatever the text is."""
    if not list(odd_lines(text, ["K"])):
        assert by_honcho(text) == by_orderflow(text)


@given(st.text(st.sampled_from("aKnté'\"\\#{}=:./[\n\t $"), min_size=1))
def test_a_value_is_written_so_that_all_read_it(value: str) -> None:
    """The advice helps: each parser reads the value again, and the line is not named any more."""
    written = same_everywhere(value)
    if written is not None:
        line = f"K={written}\n"
        assert by_honcho(line) == by_orderflow(line) == {"K": value}
        assert not list(odd_lines(line, ["K"]))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain:8080", "plain:8080"),
        ("two words", "'two words'"),
        ("a$b", "'a$b'"),
        ("it's", '"it\'s"'),
        ('it\'s "\\"', '"it\'s \\"\\\\\\""'),
        ("one\ntwo", '"one\\ntwo"'),
        ("${HOME}", None),
        ("it's $HOME", None),
        ("C:\\new", None),
    ],
)
def test_the_simplest_way_is_advised(value: str, written: str | None) -> None:
    """None where no way is the same for all: honcho reads a backslash and an n as a line break."""
    assert same_everywhere(value) == written


@pytest.mark.parametrize(
    ("line", "reader", "remedy"),
    [
        ("K=it's", "honcho", "double quotes"),
        ("K=a b", "honcho", "single quotes"),
        ("K=a#b", "honcho", "single quotes"),
        ("K=a$b", "docker compose", "single quotes"),
        ("K=a${HOME}b", "honcho", "write the value itself"),
        ("K='a${HOME}b'", "orderflow", "write the value itself"),
        ("K=a\\b", "honcho", "single quotes"),
        ("K='a\\nb'", "honcho", "real environment variable"),
        ("K='it\\'s'", "honcho", "double quotes"),
        ("export K=a", "honcho", "remove the word"),
        ("K='a' b", "orderflow", "close the quote"),
        ("\ufeffK=a", "honcho", "without the mark"),
        ("K=a\rL=b", "docker compose", "line feed"),
        ("K=a\x0cb", "honcho", "remove the character"),
        ("K='a\nb'", "honcho", "double quotes"),
        ("K: a", "docker compose", "write NAME=value"),
        ("K.x=a", "honcho", "letters, digits and _"),
    ],
)
def test_a_line_is_named_with_its_reader_and_its_remedy(line: str, reader: str, remedy: str) -> None:
    """Who reads it differently, and how to write it."""
    [odd] = odd_lines(line, ["K"])
    assert reader in odd.difference
    assert remedy in odd.remedy


def test_an_empty_value_matters_only_after_another_one() -> None:
    """honcho ignores it, so that the earlier line counts; alone it means the default for all."""
    assert not list(odd_lines("K=\nL=''\n", ["K"]))
    [odd] = odd_lines("K=a\n\n# now empty\nK=\n", ["K"])
    assert (odd.line, odd.name) == (4, "K")


def test_doctor_warns_of_each_line_and_repeats_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a name that is no setting's: it may be the rest of a secret."""
    monkeypatch.chdir(tmp_path)
    assert [finding.outcome for finding in examine_env_file()] == [Outcome.OK]
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=it's swordfish\r\n\r\nREDIS_PASSWORD='x\nswordfish$a=\n")
    first, second, third = examine_env_file()
    assert {first.outcome, second.outcome, third.outcome} == {Outcome.WARNING}
    assert first.message.startswith("line 1 POSTGRES_PASSWORD: honcho removes quotes")
    assert (second.message[:6], third.message[:6]) == ("line 3", "line 4")
    assert "swordfish" not in first.message + second.message + third.message
    (tmp_path / ".env").write_text('POSTGRES_PASSWORD="it\'s fine"\n')
    assert [finding.outcome for finding in examine_env_file()] == [Outcome.OK]
