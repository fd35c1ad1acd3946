"""A name in `.env` that is no setting would be ignored without a word: doctor names it."""

from pathlib import Path

import pytest

from orderflow.start.env_names import OddName, odd_names
from orderflow.start.settings import variables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KAFKA_BROKER", "did you mean KAFKA_BROKERS?"),
        ("KAKFA_TOPIC", "did you mean KAFKA_TOPIC?"),
        ("kafka_topic", "did you mean KAFKA_TOPIC?"),
        ("POSTGRES_DATABSE", "did you mean POSTGRES_DATABASE?"),
        ("WORKER", "did you mean WORKERS?"),
        ("POSTGRES_INITDB_ARGS", "`.env.example` lists all settings"),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_that_was_meant(name: str, meant: str) -> None:
    """In the line where it is."""
    assert list(odd_names(f"# ours\n\n{name}=a\n", variables())) == [OddName(3, name, "it is not a setting", meant)]


def test_a_name_that_is_set_twice_is_told() -> None:
    """Which value counts, and where the other one is."""
    [odd] = odd_names("WORKERS=2\nLOG_LEVEL=info\nWORKERS=4\n", variables())
    assert (odd.line, odd.name, odd.problem) == (3, "WORKERS", "it is set in line 1 already")
    assert "the last one counts" in odd.remedy


@pytest.mark.parametrize("name", ["HTTP_PROXY", "LOG_DIR", "DATABASE_URL", "OTEL_SERVICE_NAME", "TEST_REDIS_URL"])
def test_names_of_other_programs_are_none_of_ours(name: str) -> None:
    assert list(odd_names(f"{name}=a\n", variables())) == []


def test_the_example_has_no_odd_name() -> None:
    """Also with all its lines uncommented."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.removeprefix("#") for line in lines if "=" in line.split(" ")[0])
    assert "KAFKA_HOST_PORT" in text
    assert list(odd_names(text, variables())) == []
