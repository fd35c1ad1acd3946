"""The units of systemd hold together: their commands, times, exit codes and settings are those of the code."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from orderflow.exits import CANNOT_START
from orderflow.start.settings import parse_settings, variables
from tests.support.commands import resolve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "systemd"
COMMON = Path("orderflow-.service.d", "common.conf")
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
PROGRAMS = "/opt/orderflow/bin/"
ENV_PARSER = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")

Options = dict[str, list[str]]


def options(name: str) -> Options:
    """Return the options of a unit with those that all units share, as systemd puts them together."""
    found: Options = defaultdict(list)
    for path in (FOLDER / name, FOLDER / COMMON):
        for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
            found[key].append(value)
    return found


def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("left out: this needs systemd-analyze")
    return found


def verified(folder: Path) -> list[str]:
    """Return what systemd itself has to say about the units, with the programs of this environment."""
    shutil.copytree(FOLDER, folder)
    for unit in UNITS:
        text = (folder / unit).read_text()
        (folder / unit).write_text(text.replace(PROGRAMS, f"{Path(sys.executable).parent}/"))
    return complaints(folder)


def complaints(folder: Path) -> list[str]:
    command = [analyze(), "verify", "--man=no", *(str(folder / unit) for unit in UNITS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in ended.stderr.splitlines() if "orderflow-" in line]


def test_systemd_accepts_them(tmp_path: Path) -> None:
    """Every option is known, every value allowed, every program there."""
    assert [f"orderflow-{name}.service" for name in ("engine", "http", "migrate", "topics")] == UNITS
    assert verified(tmp_path / "units") == []


@pytest.mark.parametrize("file", [*UNITS, str(COMMON)])
def test_a_misspelt_option_would_be_found(file: str, tmp_path: Path) -> None:
    """In a unit, and in what they share: systemd reads that too."""
    verified(tmp_path / "units")
    with (tmp_path / "units" / file).open("a") as opened:
        opened.write("\n[Service]\nRestrat=always\n")
    assert any("Restrat" in line for line in complaints(tmp_path / "units"))


@pytest.mark.parametrize("name", UNITS)
def test_the_command_exists(name: str) -> None:
    """Each unit runs one command of orderflow."""
    [command] = options(name)["ExecStart"]
    assert command.startswith(PROGRAMS)
    resolve(command.removeprefix(PROGRAMS).split())


@pytest.mark.parametrize("name", UNITS)
def test_a_hopeless_start_is_not_repeated(name: str) -> None:
    """Exit code 3 ends it; a service that is down is waited for without end."""
    found = options(name)
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == [str(CANNOT_START)]
    assert found["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("name", ["orderflow-engine.service", "orderflow-http.service"])
def test_a_drain_is_not_cut_off(name: str) -> None:
    """Only the supervisor gets SIGTERM, and systemd kills later than our own deadline."""
    found = options(name)
    assert (found["Type"], found["KillMode"], found["OOMPolicy"]) == (["exec"], ["mixed"], ["continue"])
    assert not set(found) & {"KillSignal", "WatchdogSec", "SendSIGKILL"}
    assert int(found["TimeoutStopSec"][0]) > parse_settings({}).shutdown_timeout_s


def test_what_runs_once_has_the_time_that_it_needs() -> None:
    """Kafka is waited for; a migration takes as long as it takes."""
    migrate, topics = options("orderflow-migrate.service"), options("orderflow-topics.service")
    assert migrate["Type"] == topics["Type"] == ["oneshot"]
    assert migrate["TimeoutStartSec"] == ["infinity"]
    assert int(topics["TimeoutStartSec"][0]) > parse_settings({}).start_timeout_s


@pytest.mark.parametrize("name", UNITS)
def test_what_comes_before_exists(name: str) -> None:
    """Each unit of ours that another one wants is started before it."""
    found = options(name)
    wanted = {unit for value in found["Wants"] for unit in value.split() if unit.startswith("orderflow-")}
    after = {unit for value in found["After"] for unit in value.split()}
    assert wanted <= set(UNITS) & after


@pytest.mark.parametrize("name", UNITS)
def test_settings_come_from_one_file(name: str) -> None:
    """The one that `.env.example` becomes; without it nothing starts. No unit has settings of its own."""
    found = options(name)
    assert found["EnvironmentFile"] == ["/etc/orderflow/orderflow.env"]
    assert not set(found) & {"Environment", "PassEnvironment", "UnsetEnvironment"}


@pytest.mark.parametrize("name", UNITS)
def test_units_have_few_rights(name: str) -> None:
    """No root, no capabilities, no writable file system."""
    found = options(name)
    assert (found["User"], found["CapabilityBoundingSet"]) == (["orderflow"], [""])
    for option in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectHome"):
        assert found[option] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]


def test_systemd_reads_the_example_as_we_do(tmp_path: Path) -> None:
    """By its own parser: uncommented, each setting has its default; a setting without a value has none."""
    if not ENV_PARSER.exists():
        pytest.skip("left out: this needs the parser of environment files that systemd installs")
    folder = tmp_path / "config" / "environment.d"
    folder.mkdir(parents=True)
    example = (ROOT / ".env.example").read_text()
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    read = {}
    for text in (example, re.sub(r"^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE)):
        (folder / "orderflow.conf").write_text(text)
        ended = subprocess.run([ENV_PARSER], env=environment, capture_output=True, text=True, check=True, timeout=30)
        lines = [line.partition("=") for line in ended.stdout.splitlines()]
        read[text] = {name: value for name, _, value in lines if name in variables()}
    assert list(read.values()) == [{}, {name: default for name, default in variables().items() if default}]


def test_the_page_names_settings_that_exist() -> None:
    """And units that exist."""
    page = (ROOT / "docs" / "systemd.md").read_text()
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page))
    assert named <= set(variables())
    assert set(re.findall(r"orderflow-\w+\.service", page)) <= set(UNITS)
