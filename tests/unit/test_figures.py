"""The figures of docs/performance.md are drawn from the committed results, and tell what its tables tell."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.figures import COMPARED, figures, read_results
from bench.keep import keep

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
DRAWN = figures()
EACH = pytest.mark.parametrize("name", DRAWN)


@EACH
def test_every_figure_is_current_and_shown(name: str) -> None:
    """Whoever commits new results draws again: `python -m bench.figures`."""
    assert (IMAGES / name).read_text(encoding="utf-8") == DRAWN[name]
    assert f'"images/{name}"' in PAGE


def test_no_figure_is_left_over() -> None:
    """What is not drawn any more is deleted."""
    assert {path.name for path in IMAGES.glob("performance-*.svg")} == set(DRAWN)


@pytest.mark.parametrize("name", ["ingest", "lookups"])
def test_the_rates_are_those_of_the_tables(name: str) -> None:
    """To the last digit."""
    rates = re.findall(r">([\d,]{5,})</text>", DRAWN[f"performance-{name}-light.svg"])
    assert len(rates) in {3, 9}
    tables = PAGE.partition("Beside other programs")[2].partition("With 10,000,000")[0]
    # The plain handler has no row for orders that are not found.
    assert set(rates) - set(re.findall(r"[\d,]{5,}", tables)) <= {"7,286"}


def test_the_intervals_are_those_of_the_table() -> None:
    """Each row of the table is drawn, by the name and with the interval that it has there."""
    table = PAGE.partition("Beside other programs")[0]
    rows = re.findall(r"^\| ([^|]+) \|.*?\| (\d\.\d\d to \d\.\d\d) \|", table, re.MULTILINE)
    compared = read_results("against-before")["comparison"]["figures"]
    drawn = [(name, compared[key]["times_as_good"]) for key, name in COMPARED.items()]

    assert rows == [(name, f"{times['low']:.2f} to {times['high']:.2f}") for name, times in drawn]


@EACH
def test_a_figure_is_legible_on_a_telephone(name: str) -> None:
    """Its text is at least eleven pixels high when the figure is 326 wide, and inside of it."""
    image = ElementTree.fromstring(DRAWN[name])
    width = float(image.attrib["width"])
    assert float(image.attrib["font-size"]) * 326 / width >= 11
    for shape in image:
        for side in ("x", "x1", "x2", "cx"):
            assert 0 <= float(shape.attrib.get(side, 0)) <= width


def test_kept_results_hold_no_path_of_a_machine() -> None:
    """The command lines of other programs, and single runs, are left out."""
    results: dict[str, Any] = {
        "figures": {"ingest": 1},
        "goals": [],
        "runs": [{}],
        "plan": {"rounds": 3, "peer": "/somewhere/ingest", "lookup_peer": "/somewhere/look"},
        "comparison": {"figures": {"ingest": 2}, "runs": [{}]},
    }
    assert keep(results) == {
        "figures": {"ingest": 1},
        "plan": {"rounds": 3},
        "comparison": {"figures": {"ingest": 2}},
    }
