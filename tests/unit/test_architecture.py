"""ARCHITECTURE.md leads to files that there are, and what it leads to can be read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SOURCES = [path for room in ("engine", "handlers", "http", "orderflow") for path in (ROOT / room).rglob("*.py")]
FILE_LINES, FUNCTION_LINES = 300, 50


def lengths_of_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:engine|handlers|http|orderflow|db|docs|examples|tests|ui)/[\w./*]*)`", PAGE)

    assert len(named) > 30, "the page names the files to read"
    assert [path for path in named if not list(ROOT.glob(path))] == []


def test_a_file_is_read_in_one_go_and_a_function_at_one_glance() -> None:
    files = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    functions = [found for path in SOURCES for found in lengths_of_functions(path)]

    assert len(functions) > 500
    assert {name: lines for name, lines in files.items() if lines > FILE_LINES} == {}
    assert [(name, lines) for name, lines in functions if lines > FUNCTION_LINES] == []
