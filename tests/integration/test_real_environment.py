"""A real environment variable wins over `.env`, also under honcho."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PRINT = (
    "from orderflow.start.settings import load_settings as l; s = l(); print('seen', s.kafka_topic, s.kafka_group_id)"
)


@pytest.mark.parametrize("shell", ["", "true; "], ids=["direct", "shell in between"])
def test_the_environment_wins_over_the_file_under_honcho(tmp_path: Path, shell: str) -> None:
    """Honcho lets `.env` win over the environment of its children; the settings are read the other way round."""
    (tmp_path / "Procfile").write_text(f'shown: {shell}{sys.executable} -c "{_PRINT}"\n')
    (tmp_path / ".env").write_text("KAFKA_TOPIC=from-file\nKAFKA_GROUP_ID=from-file\n")
    ended = subprocess.run(
        [sys.executable, "-m", "honcho", "start"],
        cwd=tmp_path,
        env={**os.environ, "KAFKA_TOPIC": "from-environment"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "seen from-environment from-file" in ended.stdout
