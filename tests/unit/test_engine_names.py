"""What the package `engine` hands out to an application."""

import subprocess
import sys

import pytest

import engine


@pytest.mark.parametrize("name", engine.__all__)
def test_an_application_finds_each_name_in_the_engine_itself(name: str) -> None:
    assert getattr(engine, name).__name__ == name


def test_a_name_that_the_engine_does_not_have_is_told() -> None:
    with pytest.raises(AttributeError, match="'engine' has no attribute 'Handle'"):
        engine.Handle  # noqa: B018


def test_whoever_imports_a_verdict_loads_no_client() -> None:
    """A command such as `orderflow --help` would wait for them."""
    program = "import sys; from engine import Rejected; print(sorted({'aiokafka', 'asyncpg'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
