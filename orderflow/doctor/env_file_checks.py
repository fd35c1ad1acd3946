"""The checks of `.env`: whether all programs read it alike, and whether its names are settings."""

from orderflow.doctor.finding import Finding, ok, warned
from orderflow.start.env_lines import odd_lines_of
from orderflow.start.env_names import odd_names_of
from orderflow.start.settings import ENV_FILE

_LINES, _NAMES = "Lines of .env", "Names in .env"


def examine_env_file() -> list[Finding]:
    """Return a warning for each line that is not read alike, and for each odd name; values are not repeated."""
    if not ENV_FILE.exists():
        return [ok(_LINES, "there is no such file")]
    lines = [
        warned(_LINES, f"line {each.line} {each.name}".strip() + f": {each.difference}", each.remedy)
        for each in odd_lines_of()
    ]
    names = [warned(_NAMES, f"line {each.line} {each.name}: {each.problem}", each.remedy) for each in odd_names_of()]
    return [*(lines or [ok(_LINES, "docker compose, honcho and orderflow read them alike")]), *names]
