"""How pytest treats fault runs: which of them are short, a progress line each, and the table at the end.

`@pytest.mark.fault("9", "the broker is killed", short=True)` names a fault and its row in the table of faults. A run of
all tests takes the short ones only, and says so; `--chaos` (that is `make chaos`) runs them all in the table's order.
Then come the tests with the mark `long`, which a run of all tests leaves out as well.
"""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from tests.chaos.checker import Report
from tests.chaos.fault_run import FaultRun

RUN = pytest.StashKey[FaultRun]()
SEED = pytest.StashKey[int]()
_LINES = pytest.StashKey[list["Line"]]()
_DESELECTED = pytest.StashKey[int]()
SEED_OF_ORDINARY_RUNS = 1
_COLUMNS = ("row", "fault", "sent", "lost", "repeated", "stale", "recovery", "result")


@attrs.frozen
class Line:
    """A fault's line in the table."""

    row: str
    title: str
    report: Report | None
    recovery_s: float | None
    remark: str
    result: str
    duration_s: float

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells, in the order of the columns."""
        if self.report is None:
            figures = ("-", "-", "-", "-")
        else:
            found = self.report
            backwards = len(found.stale) + len(found.went_back) + len(found.ahead)
            figures = (str(found.sent), str(len(found.lost)), str(len(found.repeated)), str(backwards))
        recovery = "-" if self.recovery_s is None else f"{self.recovery_s:.1f} s"
        result = f"{self.result} ({self.remark})" if self.remark else self.result
        return (self.row, self.title, *figures, recovery, result)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make chaos`."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos", action="store_true", help="run all faults, with a progress line each and a table")
    group.addoption("--chaos-seed", type=int, help="repeat the run with this seed")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and choose the seed."""
    config.addinivalue_line(
        "markers", "fault(row, title, short=False): a fault run, and its row in the table of faults"
    )
    config.addinivalue_line("markers", "long: a test that takes its time, left to `make chaos`")
    seed = config.getoption("--chaos-seed")
    if seed is None:
        seed = secrets.randbelow(1_000_000) if config.getoption("--chaos") else SEED_OF_ORDINARY_RUNS
    config.stash[SEED] = seed
    config.stash[_LINES] = []
    config.stash[_DESELECTED] = 0


def _fault(item: pytest.Item) -> Any:
    mark = item.get_closest_marker("fault")
    return None if mark is None else mark


def _is_long(item: pytest.Item) -> bool:
    fault = _fault(item)
    return not fault.kwargs.get("short") if fault else item.get_closest_marker("long") is not None


def _order(item: pytest.Item) -> tuple[int, str]:
    row = str(_fault(item).args[0])
    number = re.match(r"\d+", row)
    return (int(number.group()) if number else 0, row)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep faults and long tests alone with `--chaos`; leave the long ones out where nobody named what to run."""
    if config.getoption("--chaos"):
        kept = sorted((item for item in items if _fault(item)), key=_order)
        kept += [item for item in items if item.get_closest_marker("long")]
    elif any(re.search(r"(^|/)tests/\w", argument) for argument in config.invocation_params.args):
        return
    else:
        kept = [item for item in items if not _is_long(item)]
    chosen = set(kept)
    dropped = [item for item in items if item not in chosen]
    config.stash[_DESELECTED] = sum(1 for item in dropped if _is_long(item))
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str:
    """Say which seed this is, and how much is left to `make chaos`."""
    chosen = sum(1 for item in items if _fault(item))
    left = config.stash[_DESELECTED]
    rest = f"; {left} longer faults and tests run with `make chaos`" if left else ""
    return f"faults: {chosen}, seed {config.stash[SEED]}{rest}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note a fault's outcome when its test has ended."""
    outcome: Any = yield
    mark = _fault(item)
    if mark is not None and (outcome.when == "call" or outcome.failed or outcome.skipped):
        run = item.stash.get(RUN, None)
        reason = str(outcome.longrepr[2]) if outcome.skipped and isinstance(outcome.longrepr, tuple) else ""
        outcome.fault_line = Line(
            row=str(mark.args[0]),
            title=mark.args[1],
            report=run.report if run else None,
            recovery_s=run.recovery_s if run else None,
            remark=(run.remark if run else "") or reason,
            result={"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[outcome.outcome],
            duration_s=outcome.duration,
        )
        item.config.stash[_LINES].append(outcome.fault_line)
    return outcome


class ProgressLines:
    """Prints a line a fault instead of pytest's dots."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def _terminal(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print nothing for a report: the line below says it."""
        if hasattr(report, "fault_line") or report.when != "call":
            return (report.outcome if report.when == "call" or report.outcome != "passed" else "", "", "")
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print a fault's line when it has ended."""
        line: Line | None = getattr(report, "fault_line", None)
        if line is None:
            if "long" in report.keywords and (report.when == "call" or report.failed):
                self._terminal.write_line(f"long  {report.nodeid}  {report.outcome}  {report.duration:.0f} s")
            return
        figures = f"{line.report.sent:,} orders" if line.report else ""
        recovered = f"recovered in {line.recovery_s:.1f} s" if line.recovery_s is not None else ""
        told = ", ".join(filter(None, (figures, recovered, line.remark)))
        self._terminal.write_line(f"{line.row:>4}  {line.title:<72} {line.result:<7} {line.duration_s:5.0f} s  {told}")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Take over the progress lines with `--chaos`."""
    if session.config.getoption("--chaos"):
        session.config.pluginmanager.register(ProgressLines(session.config), "chaos-progress")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of faults."""
    lines = config.stash[_LINES]
    if not config.getoption("--chaos") or not lines:
        return
    rows = [_COLUMNS, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    terminalreporter.section(f"faults, seed {config.stash[SEED]}")
    for row in rows:
        terminalreporter.write_line(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        )
        if row is rows[0]:
            terminalreporter.write_line("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sent = sum(line.report.sent for line in lines if line.report)
    wrong = sum(len(line.report.violations) for line in lines if line.report)
    failed = sum(line.result != "ok" for line in lines)
    terminalreporter.write_line(f"{len(lines)} faults, {sent:,} orders, {wrong} violations, {failed} not passed")
