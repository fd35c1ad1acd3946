"""docs/guarantees.md names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/\w+/test_\w+\.py)`", PAGE)))


def test_the_page_names_tests() -> None:
    """A promise without a test is none."""
    assert len(NAMED) > 10


@pytest.mark.parametrize("path", NAMED)
def test_every_test_that_is_named_is_there(path: str) -> None:
    """And holds tests."""
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(r"def test_|TestCase|short_and_long", source), f"{path} holds no test"
