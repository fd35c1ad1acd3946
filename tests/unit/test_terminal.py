"""Text from messages cannot move a terminal's cursor, and a program still reads what was meant."""

import json
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.terminal import json_line, printable, printable_line

HOSTILE = "a\x1b[2J\x9b\u202e\n\U000e0001б"


def test_what_is_not_printable_is_escaped() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\x9b\u202e\n\U000e0001б"


@given(text=st.text(st.characters(codec="utf-8")))
def test_json_is_printable_and_means_the_same(text: str) -> None:
    """Also of characters that JSON writes with two escapes."""
    line = json_line({"order_uid": text})
    assert line.isprintable()
    assert json.loads(line) == {"order_uid": text}


def test_a_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program gets the text as it is, but for what would make two lines of it; a terminal gets what it can show."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, open(os.devnull, "w", encoding="utf-8") as elsewhere:
        monkeypatch.setattr("sys.stdout", elsewhere)
        assert printable_line(HOSTILE) == HOSTILE.replace("\n", r"\n")
        monkeypatch.setattr("sys.stdout", terminal)
        assert printable_line(HOSTILE) == printable(HOSTILE)
    os.close(master)
