"""The check of `.env`: whether docker compose, honcho and orderflow read it alike."""

from orderflow.doctor.finding import Finding, ok, warned
from orderflow.start.env_lines import odd_lines_of
from orderflow.start.settings import ENV_FILE

_CHECK = "Lines of .env"


def examine_env_file() -> list[Finding]:
    """Return a warning for each line that is not read alike; values are not repeated."""
    odd = odd_lines_of()
    if odd:
        return [
            warned(_CHECK, f"line {each.line} {each.name}".strip() + f": {each.difference}", each.remedy)
            for each in odd
        ]
    if ENV_FILE.exists():
        return [ok(_CHECK, "docker compose, honcho and orderflow read them alike")]
    return [ok(_CHECK, "there is no such file")]
