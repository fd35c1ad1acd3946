"""`.env.example` is the list of settings that people read: it says what the code says."""

import re
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from honcho.environ import parse

from orderflow.start.env_lines import odd_lines
from orderflow.start.settings import parse_settings, variables

EXAMPLE = Path(__file__).parents[2] / ".env.example"
SETTING = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
HOST_PORTS = {f"{name}_HOST_PORT" for name in ("HTTP", "PROMETHEUS", "GRAFANA", "POSTGRES", "KAFKA", "REDIS")}


def documented() -> dict[str, str]:
    return dict(SETTING.findall(EXAMPLE.read_text()))


def test_it_names_every_setting_and_no_other() -> None:
    """Whoever adds a setting documents it; whoever removes one does not leave it behind."""
    assert set(documented()) == set(variables()) | HOST_PORTS


def test_it_names_each_setting_once() -> None:
    """A setting that stands twice would have two values."""
    names = [name for name, _ in SETTING.findall(EXAMPLE.read_text())]
    assert sorted(names) == sorted(set(names))


def test_its_values_are_the_defaults() -> None:
    """What the example shows is what happens without it."""
    shown = documented()
    assert {name: shown[name] for name in variables()} == variables()


def test_its_values_parse_to_the_default_settings() -> None:
    """Uncommenting everything is the same as setting nothing."""
    assert parse_settings(documented()) == parse_settings({})


def test_copied_as_it_is_it_changes_nothing() -> None:
    """`cp .env.example .env` is harmless."""
    assert parse_settings({name: value or "" for name, value in dotenv_values(EXAMPLE).items()}) == parse_settings({})


def test_every_program_reads_its_lines_alike() -> None:
    """Uncommented, honcho's own parser finds the same values; an empty one is no value for it."""
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert parse(uncommented) == {name: value for name, value in documented().items() if value}
    assert dotenv_values(stream=StringIO(uncommented)) == documented()
    assert not list(odd_lines(uncommented, documented()))


def test_every_setting_has_a_comment_of_one_line() -> None:
    """The line before a setting says what it is, and is no setting itself."""
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if SETTING.match(line):
            assert re.match(r"# \S", lines[number - 1]), line


def test_the_host_ports_are_ports_of_their_own() -> None:
    """Compose cannot publish two services on one port."""
    ports = [int(documented()[name]) for name in HOST_PORTS]
    assert len(set(ports)) == len(ports)
    assert all(0 < port < 65536 for port in ports)
