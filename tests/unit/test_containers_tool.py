"""`make containers` finds faults, changes only names in the compose file, and ends what it started."""

import asyncio
import importlib.util
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from orderflow.exits import CannotStart, Failed
from orderflow.services.process import fingerprint
from tests.unit.test_compose_file import COMPOSE, DATA, SERVICES
from tools.containers.commands import Commands
from tools.containers.engine import docker_engine
from tools.containers.images import Images, build_arguments, store_images
from tools.containers.lock import only_run
from tools.containers.remains import mounted_below
from tools.containers.report import Report
from tools.containers.rights import probe_faults, setting_faults
from tools.containers.stops import stop_faults
from tools.containers.system import OURS, override, user_environment

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "tools" / "containers" / "standins"
STANDINS = {"kafka": "kafka", "postgres": "postgres", "redis": "valkey"}


def commands(folder: Path, **environment: str) -> Commands:
    return Commands(folder, {"PATH": os.environ["PATH"], **environment}, folder / "commands.log")


def container(**state: Any) -> dict[str, Any]:
    """Return what `docker inspect` shows of a container of ours that is as it should be."""
    return {
        "Config": {"User": "orderflow", "Labels": {"com.docker.compose.service": "engine"}},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": None,
            "Privileged": False,
            "SecurityOpt": ["no-new-privileges:true"],
            "Init": True,
        },
        "State": {"Running": False, "ExitCode": 0, "OOMKilled": False, **state},
    }


def probed(**changes: str) -> dict[str, Any]:
    """Return what the probe sees in a container that is as it should be, but for one line of a process's status."""
    none = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000")
    status = {**none, "Uid": "10001\t10001\t10001\t10001", "NoNewPrivs": "1", "State": "S (sleeping)"}
    processes = [{**status, "Pid": "1", "Name": "docker-init"}, {**status, "Pid": "7", "Name": "orderflow", **changes}]
    return {"processes": processes, "writes": {"/": 30, "/tmp": 0}}


def test_each_container_of_ours_gets_an_image_of_this_run() -> None:
    """An image `orderflow:local` of the user's is neither used nor replaced."""
    images = Images([], {"PYTHON_IMAGE": "a"}, {"kafka": "k", "postgres": "p", "redis": "r"})
    changed = override("project", images, build_on_host_network=True)["services"]

    assert {name for name, service in SERVICES.items() if "build" in service} == {*OURS, "tests"}
    assert set(changed) == {*OURS, "tests", *STANDINS}
    assert {key for service in changed.values() for key in service} == {"image", "build"}
    assert changed["engine"]["build"] == {"args": {"PYTHON_IMAGE": "a"}, "network": "host"}


def test_the_users_settings_do_not_reach_what_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_TOPIC", "WORKERS", "COMPOSE_PROJECT_NAME", "HTTP_HOST_PORT", "MAKEFLAGS"):
        monkeypatch.setenv(name, "theirs")

    assert "theirs" not in user_environment().values()
    assert user_environment()["PATH"] == os.environ["PATH"]


def test_every_base_of_the_dockerfile_can_be_another() -> None:
    """A stage is built on an argument, or on a stage above it."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)
    named = {f"${{{name}}}" for name in build_arguments(dockerfile)}

    assert named == {"${PYTHON_IMAGE}", "${NODE_IMAGE}"}
    assert {base for base, _ in bases} <= named | {stage for _, stage in bases}


def test_every_store_has_a_stand_in() -> None:
    assert set(store_images(COMPOSE)) == set(STANDINS) == set(DATA)


@pytest.mark.parametrize(("service", "recipe"), STANDINS.items())
def test_a_stand_in_keeps_its_data_where_the_compose_file_has_its_volume(service: str, recipe: str) -> None:
    assert f"\nVOLUME {DATA[service]}\n" in (RECIPES / recipe / "Dockerfile").read_text()


@pytest.mark.parametrize(("service", "recipe"), STANDINS.items())
def test_a_stand_in_reads_every_variable_that_the_compose_file_gives_it(service: str, recipe: str) -> None:
    entrypoint = next((RECIPES / recipe).glob("entrypoint.*")).read_text()
    for name in SERVICES[service].get("environment", {}):
        read_by_the_program_itself = name.startswith("KAFKA_") or name.endswith("CLI_AUTH")
        assert name in entrypoint or read_by_the_program_itself


def test_the_variables_of_kafka_become_its_properties() -> None:
    spec = importlib.util.spec_from_file_location("entrypoint", RECIPES / "kafka" / "entrypoint.py")
    assert spec is not None
    assert spec.loader is not None
    entrypoint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entrypoint)
    found = entrypoint.properties({**SERVICES["kafka"]["environment"], "KAFKA_A__B___C": "1", "PATH": "/bin"})

    assert found["log.dirs"] == DATA["kafka"]
    assert found["share.coordinator.state.topic.min.isr"] == "1"
    assert found["a_b-c"] == "1"
    assert not {"heap.opts", "cluster.id", "path"} & set(found)


@pytest.mark.parametrize(
    ("part", "setting", "value", "fault"),
    [
        ("HostConfig", "ReadonlyRootfs", False, "its root file system can be written"),
        ("HostConfig", "CapDrop", None, "it drops only None"),
        ("HostConfig", "CapAdd", ["NET_RAW"], "it adds ['NET_RAW']"),
        ("HostConfig", "Privileged", True, "it is privileged"),
        ("HostConfig", "SecurityOpt", None, "it may gain privileges"),
        ("HostConfig", "Init", None, "it has no init"),
        ("Config", "User", "", "its user is ''"),
    ],
)
def test_a_right_too_many_is_a_fault(part: str, setting: str, value: Any, fault: str) -> None:
    found = container()
    assert setting_faults(found) == []
    found[part][setting] = value
    assert setting_faults(found) == [fault]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("CapEff", "0000000000000400", "CapEff 0000000000000400"),
        ("CapBnd", "00000000a80425fb", "CapBnd 00000000a80425fb"),
        ("Uid", "0\t0\t0\t0", "the user ids 0\t0\t0\t0"),
        ("NoNewPrivs", "0", "no NoNewPrivs"),
        ("State", "Z (zombie)", "no parent that reaps it"),
    ],
)
def test_a_process_with_a_right_too_many_is_a_fault(name: str, value: str, fault: str) -> None:
    assert probe_faults(probed()) == []
    assert probe_faults(probed(**{name: value})) == [f"process 7 (orderflow) has {fault}"]


def test_a_file_that_can_be_written_and_a_pid_1_that_does_not_reap_are_faults() -> None:
    found = probed()
    found["processes"][0]["Name"] = "python"
    found["writes"] = {"/": 0, "/tmp": 30}

    assert probe_faults(found) == [
        "PID 1 is python, not an init",
        "writing to / gives error 0 instead of 30",
        "writing to /tmp gives error 30 instead of 0",
    ]


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"ExitCode": 137}, "engine ended with exit code 137"),
        ({"ExitCode": 143}, "engine ended with exit code 143"),
        ({"Running": True}, "engine still runs"),
        ({"OOMKilled": True}, "engine was out of memory"),
    ],
)
def test_a_container_that_was_killed_is_a_fault(state: dict[str, Any], fault: str) -> None:
    assert stop_faults(container()) == []
    assert stop_faults(container(**state)) == [fault]


def test_mounts_of_the_engine_are_found_the_deepest_first() -> None:
    lines = [
        f"{number} 1 0:1 / {path} rw - overlay overlay rw" for number, path in enumerate(("/run/e/a", "/run/e/a/b"))
    ]
    text = "\n".join([*lines, "9 1 0:1 / /run/e\\040f rw - tmpfs tmpfs rw", "10 1 0:1 / /run/else rw - tmpfs tmpfs rw"])

    assert mounted_below(text, Path("/run/e")) == ["/run/e/a/b", "/run/e/a"]
    assert mounted_below(text, Path("/run")) == ["/run/e/a/b", "/run/else", "/run/e/a", "/run/e f"]


async def test_a_failed_program_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"ended with exit code 4(?s:.*)\n    the reason"):
        await commands(tmp_path)("sh", "-c", "echo the reason >&2; exit 4")
    assert "the reason" in (tmp_path / "commands.log").read_text()


async def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    """They would go on using the engine."""
    began = time.monotonic()
    with pytest.raises(Failed, match=r"took longer than 0\.5 s"):
        await commands(tmp_path)("sh", "-c", "sleep 60 & echo $! > child; wait", timeout_s=0.5)
    assert time.monotonic() - began < 10
    assert fingerprint(int((tmp_path / "child").read_text())) is None


async def test_the_step_that_fails_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()

    async def works() -> str:
        return "all is well"

    async def fails() -> str:
        raise Failed("the cause\n    and more")

    await report.step("first", works)
    with pytest.raises(Failed, match="the cause"):
        await report.step("second", fails)
    table = str(report)
    assert re.search(r"^ok +0\.0 s +first +all is well$", table, re.MULTILINE)
    assert re.search(r"^FAILED +0\.0 s +second +the cause$", table, re.MULTILINE)
    assert table.endswith("s, failed: second")
    assert len(capsys.readouterr().out.splitlines()) == 2


async def test_a_step_that_is_interrupted_is_in_the_table() -> None:
    report = Report()
    working = asyncio.create_task(report.step("long", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert str(report).endswith("s, failed: long")


async def test_without_an_engine_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotStart, match=r"apt-get install docker\.io debootstrap"):
        async with docker_engine(commands(tmp_path), tmp_path / "engine", tmp_path / "state"):
            pass


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with only_run(tmp_path), pytest.raises(Failed, match="another run"), only_run(tmp_path):
        pass


def test_the_override_is_read_by_compose(tmp_path: Path) -> None:
    """JSON is YAML."""
    changes = override("project", Images([], {}, {"redis": "r"}), build_on_host_network=False)
    assert yaml.safe_load(json.dumps(changes)) == changes
