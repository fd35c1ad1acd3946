"""`orderflow doctor`: checks the set-up, and says how to fix each problem."""

import asyncio
import sys
from collections import Counter

import attrs
import click

from orderflow.doctor.env_file_checks import examine_env_file
from orderflow.doctor.finding import Finding, Outcome, collect_findings
from orderflow.doctor.kafka_checks import examine_kafka
from orderflow.doctor.machine_checks import examine_machine
from orderflow.doctor.postgres_checks import examine_postgres
from orderflow.doctor.redis_checks import examine_redis
from orderflow.exits import FAILED
from orderflow.help import Command
from orderflow.start.logs import quieten_libraries
from orderflow.start.named import with_values
from orderflow.start.settings import SettingError, Settings, load_settings
from orderflow.terminal import json_line, printable

_MARKS = {
    Outcome.OK: "ok     ",
    Outcome.WARNING: "warning",
    Outcome.FAILED: "FAILED ",
    Outcome.SKIPPED: "skipped",
}


@click.command(
    cls=Command,
    examples={
        "orderflow doctor": "one line per check",
        "orderflow doctor --json": "for programs",
        "POSTGRES_HOST=db.internal orderflow doctor": "before a setting is changed",
    },
)
@click.option("--json", "as_json", is_flag=True, help="One array on standard output.")
def doctor(as_json: bool) -> None:
    """Check settings, versions, addresses, topics, schema and permissions, and say how to fix each failure.

    Changes nothing, and takes seconds. Exits 0 when no check has failed (a warning is not a failure), else 1.
    """
    quieten_libraries()
    try:
        settings = load_settings()
    except SettingError as error:
        findings = [Finding("Settings", Outcome.FAILED, str(error)), *examine_env_file()]
    else:
        allowed = Finding("Settings", Outcome.OK, "all values are allowed")
        findings = [allowed, *examine_env_file(), *asyncio.run(_examine(settings))]
    if as_json:
        click.echo(json_line([finding.described() for finding in findings]))
    else:
        _print(findings)
    if any(finding.outcome is Outcome.FAILED for finding in findings):
        sys.exit(FAILED)


async def _examine(settings: Settings) -> list[Finding]:
    parts = await asyncio.gather(
        collect_findings(examine_machine(settings), "This machine"),
        collect_findings(examine_postgres(settings), "PostgreSQL"),
        collect_findings(examine_redis(settings), "Redis"),
        collect_findings(examine_kafka(settings), "Kafka"),
    )
    return [_with_values(finding, settings) for part in parts for finding in part]


def _with_values(finding: Finding, settings: Settings) -> Finding:
    detail, fix = (with_values(text, settings) for text in (finding.detail, finding.fix))
    return attrs.evolve(finding, detail=detail, fix=fix)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        click.echo(f"{_MARKS[finding.outcome]}  {finding.check:{width}}  {printable(finding.message)}")
    outcomes = Counter(finding.outcome for finding in findings)
    counts = [f"{outcomes[Outcome.FAILED]} failed"] if outcomes[Outcome.FAILED] else []
    warnings = outcomes[Outcome.WARNING]
    counts += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
    click.echo(", ".join(counts) or "No problem found", err=True)
