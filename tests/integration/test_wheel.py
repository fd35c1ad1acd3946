"""The wheel: what is in it, and that it works by itself, in a folder that has nothing of this repository."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import AsyncIterator
from email.parser import Parser
from pathlib import Path

import attrs
import pytest
from aiohttp import ClientSession
from packaging.requirements import Requirement

from orderflow.operating.dbmate import find_dbmate
from orderflow.services import free_ports
from orderflow.services.service import silent
from orderflow.start.migrations import latest_version
from orderflow.start.settings import parse_settings
from tests.support.endpoints import Endpoints
from tests.support.isolation import delete_topics, own_database, own_redis_db, unique
from tests.support.programs import Programs

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = {"engine": "engine", "handlers": "handlers", "orderflow": "orderflow", "http/lookup": "lookup"}
ASSETS = {"ui": "orderflow/assets/ui", "db/migrations": "orderflow/assets/migrations"}
LINK = re.compile(r'(?:href|src)="(/[^"#?]*)')


def _build(source: Path, folder: Path) -> Path:
    """Build the wheel of `source` as `make wheel` does."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return _build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and return its Python, which has the locked packages and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/*/site-packages")
    # A folder that a .pth names is searched, but its own .pth files, that of the checkout included, are not read.
    (packages / "locked.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True)
    return python


def _files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def test_it_holds_the_program_and_nothing_else(wheel: Path) -> None:
    """All of the four packages, the pages and the migrations; no tests, no benchmark, no service's data."""
    expected = {f"{there}/{name}" for here, there in {**SOURCES, **ASSETS}.items() for name in _files(ROOT / here)}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def test_its_metadata_are_those_of_the_project(wheel: Path) -> None:
    """Version and extras: `pip install 'orderflow[services]'` brings the embedded services."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == PROJECT["version"]
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    for extra, wanted in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        brought = {one.name for one in required if ("extra" in str(one.marker)) == bool(extra)}
        brought &= {one.name for one in required if one.marker is None or one.marker.evaluate({"extra": extra})}
        assert brought == {Requirement(line).name for line in wanted}
    assert set(metadata.get_all("Provides-Extra") or []) == set(PROJECT["optional-dependencies"])


def test_the_same_files_make_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    """In another folder, written at another time."""
    copy = tmp_path / "copy"
    for name in [*SOURCES, *ASSETS]:
        shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(ROOT / name, copy / name)
    assert _build(copy, tmp_path / "dist").read_bytes() == wheel.read_bytes()


@pytest.fixture
async def installed(endpoints: Endpoints, orderflow: Programs, python: Path, tmp_path: Path) -> AsyncIterator[Programs]:
    """Provide the wheel's `orderflow`, with an empty database and no topics, in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    topic = unique("orders")
    names = {"KAFKA_TOPIC": topic, "KAFKA_DLQ_TOPIC": f"{topic}-dlq", "KAFKA_GROUP_ID": topic}
    async with own_database(endpoints.environment) as database, own_redis_db(endpoints.environment) as redis_db:
        environment = {
            **orderflow.environment,
            **names,
            "POSTGRES_DATABASE": database,
            "REDIS_DB": redis_db,
            "HTTP_ADDR": f"127.0.0.1:{free_ports(1)[0]}",
            "DBMATE": await find_dbmate(silent),
            "PYTHONPATH": "",
        }
        programs = attrs.evolve(orderflow, environment=environment, folder=folder, python=str(python))
        yield programs
        await programs.close()
        await delete_topics(parse_settings(environment), [topic, f"{topic}-dlq"])


async def test_it_leads_from_nothing_to_an_order_on_the_page(installed: Programs) -> None:
    """Schema, topics, orders, engine and server, from an empty folder, which stays empty."""
    assert (await installed.run("--version")).lines == [f"orderflow {PROJECT['version']} (schema {latest_version()})"]
    for command in (["--help"], ["migrate"], ["topics", "create"]):
        ended = await installed.run(*command)
        assert ended.returncode == 0, ended.stderr
    published = await installed.run("publish", "5")
    uids = [line for line in published.lines if not line.startswith("---")]
    assert len(uids) == 5

    engine = await installed.start("engine", "--workers", "1")
    server = await installed.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    while sum(line["inserted"] for line in engine.seen("batch_committed")) < len(uids):
        await engine.wait_for("batch_committed", count=len(engine.seen("batch_committed")) + 1)
    async with ClientSession(url) as client:
        async with client.get(f"/order/{uids[0]}") as answer:
            assert (answer.status, (await answer.json())["order_uid"]) == (200, uids[0])
        await _check_pages(client)
    assert await server.stop() == 0
    assert await engine.stop() == 0
    assert list(installed.folder.iterdir()) == []


async def _check_pages(client: ClientSession) -> None:
    """Every page, everything that it links to, and every file that the description names, are served."""
    async with client.get("/openapi.json") as answer:
        description = await answer.json()
    assert description["info"]["version"] == PROJECT["version"]
    parts = {path for path in description["paths"] if path.startswith("/ui/")}
    assert parts == {f"/ui/{name}" for name in _files(ROOT / "ui") if not name.endswith(".html")}
    links = set()
    for page in ("/", "/operations", "/dead-letters"):
        async with client.get(page) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html"), page
            links |= set(LINK.findall(await answer.text()))
    for path in links | parts:
        async with client.get(path) as answer:
            assert answer.status == 200, path
            assert await answer.read(), path


def test_what_it_uses_is_its_own(python: Path, tmp_path: Path) -> None:
    """Modules, migrations and pages, even in a folder that has migrations and pages of another project."""
    for name in ("db/migrations/20990101000000_foreign.sql", "ui/orders/index.html"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    program = (
        "import engine, handlers, lookup, orderflow; from orderflow.start.project import shipped_directory as shipped; "
        "print(*[module.__file__ for module in (engine, handlers, lookup, orderflow)], sep='\\n'); "
        "print(shipped('migrations', 'db/migrations'), shipped('ui', 'ui'), sep='\\n')"
    )
    places = _output(tmp_path, str(python), "-c", program).splitlines()
    assert len(places) == 6
    assert all(Path(place).is_relative_to(python.parents[1]) for place in places), places


def test_it_installs_the_command(python: Path, tmp_path: Path) -> None:
    """`orderflow` is beside Python; in an empty folder it is of use, or says what it needs; it leaves no trace."""
    command = str(python.with_name("orderflow"))
    assert _output(tmp_path, command, "--version") == f"orderflow {PROJECT['version']} (schema {latest_version()})\n"
    assert "Exit codes:" in _output(tmp_path, command, "--help")
    assert "stopped" in _output(tmp_path, command, "services", "status")
    demo = subprocess.run(
        [str(python), "-m", "orderflow.demo"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert (demo.returncode, demo.stdout) == (3, "")
    assert "run the demo in the project's folder" in demo.stderr
    assert list(tmp_path.iterdir()) == []


def _output(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=True).stdout
