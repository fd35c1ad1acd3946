"""`python -m tools.migrations`, in the project's folder: no migration locks a table for long or breaks an engine.

squawk reads each migration as dbmate applies it. Which rules do not hold here, and where one is broken on purpose, is
in pyproject.toml, with reasons.
"""

import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from msgspec import json

FOLDER = Path("db", "migrations")
_POSTGRES = "15"
"""The oldest version that is supported."""
_BREAKING = frozenset(
    {
        "adding-required-field",
        "ban-drop-column",
        "ban-drop-constraint",
        "ban-drop-table",
        "ban-drop-view",
        "ban-new-write-restriction",
        "ban-set-schema",
        "changing-column-type",
        "renaming-column",
        "renaming-table",
    }
)
"""What breaks one of these may stop engines of an older build: such a migration waits until none is heard."""
_OPTIONAL = ("ban-new-write-restriction",)
_WAITS = "RAISE EXCEPTION 'cannot migrate: "
"""A migration with this statement refuses while older engines are heard, and `orderflow migrate` tries it again."""
_TIMEOUT_S = 60
_SECTION = re.compile(r"^-- migrate:(up|down)(.*)$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)


@attrs.frozen
class Section:
    """What dbmate runs for `up` or `down`. `before` is the part of the file that comes before its statements."""

    direction: str
    in_transaction: bool
    before: str
    sql: str

    @property
    def waits(self) -> bool:
        """Whether it refuses while workers of an older build are heard."""
        return _WAITS in self.sql

    @property
    def concurrent(self) -> bool:
        """Whether it builds or drops an index without blocking anybody."""
        return re.search(r"\bCONCURRENTLY\b", _COMMENT.sub("", self.sql), re.IGNORECASE) is not None

    @property
    def statements(self) -> int:
        """How many statements it has. A semicolon in a text counts, too: dbmate's own files need none."""
        return _COMMENT.sub("", self.sql).strip().rstrip(";").count(";") + 1


@attrs.frozen
class Exemption:
    """A rule that a file, or every file without `file`, may break, and why."""

    rule: str
    reason: str
    file: str = ""


@attrs.frozen
class Rules:
    """`[tool.orderflow.migrations]` in pyproject.toml. Files whose names are below `first` are not looked at."""

    first: str
    exemptions: tuple[Exemption, ...]

    @property
    def off(self) -> list[str]:
        """The rules that hold in no file."""
        return [one.rule for one in self.exemptions if not one.file]


def read_rules(pyproject: Path) -> Rules:
    """Read pyproject.toml. Raises `ValueError` when an exemption has no reason, or something unknown."""
    section = tomllib.loads(pyproject.read_text()).get("tool", {}).get("orderflow", {}).get("migrations", {})
    found = []
    for entry in section.get("exemptions", []):
        match entry:
            case {"rule": str(rule), "reason": str(reason), **rest} if reason and rest.keys() <= {"file"}:
                found.append(Exemption(rule, reason, str(rest.get("file", ""))))
            case _:
                raise ValueError(f"an exemption must have rule and reason, and may have file, and no more: {entry}")
    return Rules(section.get("first", ""), tuple(found))


def sections(text: str) -> list[Section]:
    """Return the parts of a migration."""
    marks = list(_SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        Section(mark[1], "transaction:false" not in mark[2], text[: mark.end()], text[mark.end() : end])
        for mark, end in zip(marks, ends, strict=True)
    ]


def faults(path: Path, rules: Rules) -> list[str]:
    """Return what is wrong with a migration, a line each, without what is exempt in it."""
    text = path.read_text(encoding="utf-8")
    parts = sections(text)
    found = []
    if [part.direction for part in parts] != ["up", "down"]:
        found.append(f"{path}: it must have one `-- migrate:up`, and after it one `-- migrate:down`")
    if "squawk-ignore" in text:
        found.append(f"{path}: name an exception in pyproject.toml, with its reason, and not by squawk-ignore")
    found += [f"{path}: {problem}" for part in parts for problem in _transaction_faults(part)]
    exempt = {one.rule for one in rules.exemptions if one.file == path.name}
    if any(part.waits for part in parts):
        exempt |= _BREAKING
    return found + [_told(rule, told) for rule, told in _broken(path, rules) if rule not in exempt]


def _told(rule: str, told: str) -> str:
    return f"{told} Wait for older engines as in docs/upgrading.md, or exempt it." if rule in _BREAKING else told


def _transaction_faults(part: Section) -> Iterable[str]:
    # dbmate sends a file without a transaction as one message, which PostgreSQL runs in one transaction all the same.
    alone = not part.in_transaction and part.statements == 1
    if part.concurrent and not alone:
        yield f"CONCURRENTLY needs `-- migrate:{part.direction} transaction:false` and a file with no other statement"
    elif not part.in_transaction and part.statements > 1:
        yield f"`-- migrate:{part.direction} transaction:false` needs a file with no other statement"


def stale(paths: Sequence[Path], rules: Rules) -> list[str]:
    """Return the exemptions of files that no longer need them."""
    found = []
    for one in rules.exemptions:
        path = next((path for path in paths if path.name == one.file), None)
        if one.file and (path is None or one.rule not in dict(_broken(path, rules))):
            found.append(f"pyproject.toml: {one.file} does not break the rule {one.rule}: delete the exemption")
    return found


def _broken(path: Path, rules: Rules) -> list[tuple[str, str]]:
    """Return the rules of squawk that a migration breaks, exempt or not, each with a line of text."""
    parts = sections(path.read_text(encoding="utf-8"))
    return [broken for part in parts if part.direction == "up" for broken in _squawk(path, part, rules.off)]


def _squawk(path: Path, part: Section, off: Sequence[str]) -> list[tuple[str, str]]:
    """Ask squawk about one part. Raises `RuntimeError` if it cannot tell."""
    if part.concurrent and not part.in_transaction:
        off = [*off, "require-lock-timeout"]  # it cannot be set there, and nobody waits behind these statements
    options = [f"--pg-version={_POSTGRES}", "--reporter=json", f"--stdin-filepath={path}"]
    options += [f"--include={rule}" for rule in _OPTIONAL if rule not in off]
    options += [f"--exclude={','.join(off)}"] if off else []
    options += ["--assume-in-transaction"] if part.in_transaction else []
    program = Path(sysconfig.get_path("scripts"), "squawk")
    ended = subprocess.run(
        [program, *options],
        input="\n" * part.before.count("\n") + part.sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    try:
        violations: list[dict[str, Any]] = json.decode(ended.stdout)
    except ValueError:
        violations = []
    if bool(violations) != bool(ended.returncode):
        raise RuntimeError(f"squawk could not read {path}: {(ended.stderr or ended.stdout).strip()[:300]}")
    return [(one["rule_name"], f"{path}:{one['line'] + 1}: {one['rule_name']}: {one['message']}") for one in violations]


@click.command()
def main() -> None:
    """Exit with 1, and a line for each fault, when a migration breaks a rule."""
    try:
        rules = read_rules(Path("pyproject.toml"))
        paths = [path for path in sorted(FOLDER.glob("*.sql")) if path.name >= rules.first]
        found = [fault for path in paths for fault in faults(path, rules)] + stale(paths, rules)
    except (ValueError, RuntimeError, OSError) as error:
        found, paths = [str(error)], []
    for fault in found:
        click.echo(fault)
    if found:
        sys.exit(1)
    click.echo(f"Migrations: {len(paths)} files, no fault")


if __name__ == "__main__":
    main()
