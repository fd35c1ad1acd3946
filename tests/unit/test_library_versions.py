"""What depends on how a library is made inside stands in few files, and is looked at before another version is used."""

import ast
import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest
from aiohttp import web

from tests.support.library_parts import ROOT, SOURCES, imported_modules, parts_used, shared_names

PRIVATE_PARTS: Mapping[str, set[str]] = {
    "engine/kafka/odd_headers.py": {"_DefaultRecordBatchPy", "_buffer"},
    # aiokafka's table of error codes is changed.
    "engine/dead_letters/refusals.py": {"kafka.kafka_errors"},
    "http/lookup/serving/direct.py": {
        "_close",
        "_force_close",
        "_keepalive_handle",
        "_keepalive_timeout",
        "_loop",
        "_next_keepalive_close_time",
        "_parser",
        "_pause_reading_for_buffer",
        "_process_keepalive",
        "_resume_reading_if_drained",
        "_waiter",
    },
    "http/lookup/serving/timed.py": {"_keepalive_handle", "_loop", "_parser", "_process_keepalive", "_waiter"},
}
"""All that our files use of what a library keeps to itself."""


@attrs.frozen
class Inside:
    """The version that files were written for: those named, and those that import modules which are not documented."""

    version: str
    files: tuple[str, ...]
    modules: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """The only files and folders that may import `modules`."""

    def to_review(self) -> list[str]:
        return sorted({*self.files, *(name for name, modules in IMPORTS.items() if self.uses(modules))})

    def uses(self, imported: set[str]) -> bool:
        return any(name.startswith(f"{module}.") for name in imported for module in self.modules)


WRITTEN_FOR = {
    "aiohttp": Inside(
        "3.14.5",
        tuple(f"http/lookup/serving/{name}.py" for name in ("direct", "protocol", "runner", "timed")),
        ("aiohttp.http_exceptions",),
        ("http/lookup/",),
    ),
    "aiokafka": Inside(
        "0.14.0",
        tuple(name for name in PRIVATE_PARTS if name.startswith("engine/")),
        tuple(f"aiokafka.{name}" for name in ("client", "cluster", "conn", "coordinator", "protocol", "record")),
        (
            "engine/kafka/",
            "engine/processes/member_removal.py",
            "orderflow/doctor/kafka_checks.py",
            "orderflow/services/kafka.py",
            "orderflow/start/brokers.py",
        ),
    ),
}
REPLACING = {f"http/lookup/serving/{name}.py" for name in ("direct", "timed")}
"""The only files that replace what aiohttp keeps to itself."""
FILES = {str(path.relative_to(ROOT)): path for path in SOURCES}
IMPORTS = {name: set(imported_modules(ast.parse(path.read_text("utf-8")))) for name, path in FILES.items()}


@pytest.mark.parametrize("library", WRITTEN_FOR)
def test_the_installed_version_is_the_one_that_the_files_were_written_for(library: str) -> None:
    inside, installed = WRITTEN_FOR[library], version(library)
    assert installed == inside.version, (
        f"{library} {installed} is installed, {inside.version} is what these files were written for: review "
        f"{', '.join(inside.to_review())}; then set the version here and in their comments (CONTRIBUTING.md, Libraries)"
    )


@pytest.mark.parametrize("library", WRITTEN_FOR)
def test_no_other_version_is_asked_for(library: str) -> None:
    inside = WRITTEN_FOR[library]
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    [wanted] = [one for one in asked if one.partition("[")[0].rstrip("=~<>,.0123456789") == library]
    assert wanted.endswith((f"=={inside.version}", f"~={inside.version}"))
    assert f"{library}=={inside.version} \\" in (ROOT / "requirements.lock").read_text("utf-8").splitlines()


@pytest.mark.parametrize("library", WRITTEN_FOR)
def test_the_modules_that_are_not_documented_stay_where_they_are_used(library: str) -> None:
    inside = WRITTEN_FOR[library]
    users = [name for name, modules in IMPORTS.items() if inside.uses(modules)]
    assert users
    assert [name for name in users if not name.startswith(inside.users)] == []


def test_every_file_to_review_says_the_version_where_it_uses_private_parts() -> None:
    for inside in WRITTEN_FOR.values():
        for name in inside.files:
            assert inside.version in FILES[name].read_text("utf-8"), f"{name} must say {inside.version}"


def test_no_other_file_uses_private_parts_of_a_library() -> None:
    found = {name: parts for name, path in FILES.items() if (parts := parts_used(path.read_text("utf-8")))}
    replaced = {name: found.get(name, set()) | shared_names(FILES[name]) for name in REPLACING}
    assert {**found, **replaced} == PRIVATE_PARTS


def test_no_other_class_shares_a_private_name_with_a_library_class_that_it_is_made_from() -> None:
    assert {name for name, path in FILES.items() if shared_names(path)} == REPLACING


class Overriding(web.AppRunner):
    """What the test above is there to find: a private method of aiohttp's, replaced."""

    async def _make_server(self) -> web.Server:
        return await super()._make_server()


def test_a_private_name_that_is_shared_is_found() -> None:
    assert shared_names(Path(__file__)) == {"_make_server"}


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("from aiohttp.web import _base", "_base"),
        ("from aiohttp._http import Parser", "_http"),
        ("import aiohttp._http", "_http"),
        ("client._closed", "_closed"),
        ("make()._run()", "_run"),
        ("class A(B):\n    def f(self): return self._loop", "_loop"),
        ("class A(B):\n    def f(self): return super()._run()", "_run"),
        ("class A(B):\n    def f(self): return self._mine.x._theirs\n    def _mine(self): ...", "_theirs"),
        ("getattr(client, '_closed', None)", "_closed"),
        ("import aiohttp\naiohttp.web.Request = None", "aiohttp.web.Request"),
        ("import aiohttp.web as web\nweb.TABLE['a'] = 1", "web.TABLE['a']"),
        ("import aiohttp\naiohttp.web.CODES.update(a=1)", "aiohttp.web.CODES"),
        ("from aiohttp import web\nsetattr(web, 'Request', None)", "web"),
        ("from aiohttp import web\ndel web.Request", "web.Request"),
    ],
)
def test_a_private_part_is_found(source: str, part: str) -> None:
    assert parts_used(source) == {part}


@pytest.mark.parametrize(
    "source",
    [
        "from engine.kafka import _own",
        "from aiohttp import web\nweb.Application().__class__",
        "import os\nos._exit(1)",
        "class A:\n    def __init__(self): self._a = 1\n    def b(self): return self._a",
        "import sys\nsys.stdout = None",
        "from aiohttp import web\nweb.Response()",
    ],
)
def test_what_is_ours_or_documented_is_let_be(source: str) -> None:
    assert parts_used(source) == set()
