"""Where another terminal finds the demo."""

from pathlib import Path

import pytest

from orderflow.demo.addresses import exports, separate_environment
from orderflow.start.settings import parse_settings, variables


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_usual_ports_need_no_word() -> None:
    """What every command takes by default is not told."""
    assert exports({**variables(), "KAFKA_GROUP_ID": "another"}) is None


def test_other_ports_are_told_as_a_line_for_the_shell() -> None:
    """It names what differs from what the settings say, and nothing else."""
    environment = {**variables(), "REDIS_ADDR": "127.0.0.1:7000", "HTTP_ADDR": "127.0.0.1:7001"}
    assert exports(environment) == "export HTTP_ADDR=127.0.0.1:7001 REDIS_ADDR=127.0.0.1:7000"


def test_what_is_told_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line's variables in its environment another terminal has the demo's settings."""
    environment = separate_environment()
    command = exports(environment)
    assert command is not None
    for word in command.split()[1:]:
        monkeypatch.setenv(*word.split("=", 1))
    assert exports(environment) is None
    assert parse_settings(environment).http_address
