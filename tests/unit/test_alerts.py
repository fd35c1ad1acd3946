"""Each alert fires when it should, and no other, by what the server's own metrics show. Needs promtool."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import yaml

from tests.support.observed_system import LOOKUP, ObservedSystem, Scrape, worker
from tests.support.promtool import input_series, promtool
from tests.support.queries import RULES, rules

EVERY_S = 30
WELL_MIN, WRONG_MIN, ALL_MIN = 8, 11, 32
"""How long each recording is well at first, then wrong; then it is mended until the end."""
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


@attrs.frozen
class Situation:
    """What goes wrong at a moment. `scrape` makes it so, before each scrape: it gets the number of those before."""

    title: str
    scrape: Callable[[ObservedSystem, int], None]
    fires: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    """The alerts that fire, with two times in minutes since that moment: not yet firing, and firing."""


def with_redis_away(system: ObservedSystem, _number: int) -> None:
    system.services["redis"] = "unavailable"


def without_workers(system: ObservedSystem, _number: int) -> None:
    for each in system.workers:
        each["state"] = "dead"
    system.consuming = False


def late(system: ObservedSystem, _number: int) -> None:
    system.lag, system.lag_s = 50_000, 61.0


def a_little_late(system: ObservedSystem, _number: int) -> None:
    system.lag, system.lag_s = 50_000, 59.0


def standing_still(system: ObservedSystem, _number: int) -> None:
    system.consuming, system.lag_s = False, None


def idle(system: ObservedSystem, _number: int) -> None:
    system.consuming, system.lag, system.lag_s = False, 0, 0.0


def paused(system: ObservedSystem, _number: int) -> None:
    system.paused, system.consuming, system.lag, system.lag_s = True, False, 50_000, 600.0
    for each in system.workers:
        each["state"] = "paused"


def with_a_refused_partition(system: ObservedSystem, _number: int) -> None:
    system.workers[0]["refused"] = {"0": {"reason": "out_of_range"}}


def braked(system: ObservedSystem, _number: int) -> None:
    system.workers[1]["state"] = "braked"


def dying(deaths: int) -> Callable[[ObservedSystem, int], None]:
    def scrape(system: ObservedSystem, number: int) -> None:
        if number < deaths:
            system.workers[0] = worker(0, 0, restarts=number + 1, started_at=f"2026-01-01T00:00:{number:02}Z")

    return scrape


def rejecting(of_100: int) -> Callable[[ObservedSystem, int], None]:
    def scrape(system: ObservedSystem, _number: int) -> None:
        system.rejected = of_100

    return scrape


def failing(of_100: int) -> Callable[[ObservedSystem, int], None]:
    def scrape(system: ObservedSystem, _number: int) -> None:
        for _ in range(of_100):
            system.metrics.answered("GET", LOOKUP, 503, 0.001, None)

    return scrape


SITUATIONS = [
    Situation("Redis is away", with_redis_away, {"OrderflowServiceNotWell": (0, 1)}),
    Situation("no worker lives", without_workers, {"OrderflowNoWorker": (0, 1)}),
    Situation("the lag is a minute", late, {"OrderflowLag": (1, 2)}),
    Situation("the lag is less", a_little_late),
    Situation("nothing is consumed", standing_still, {"OrderflowAliveButNotConsuming": (3, 4)}),
    Situation("nothing is to be consumed", idle),
    Situation("an operator has paused everything", paused),
    Situation("a partition is refused", with_a_refused_partition, {"OrderflowPartitionRefused": (-1, 0)}),
    Situation("a worker is braked", braked, {"OrderflowBraked": (-1, 0)}),
    Situation("a worker dies again and again", dying(5), {"OrderflowRestarts": (0, 3)}),
    Situation("a worker dies twice", dying(2)),
    Situation("a tenth is rejected", rejecting(10), {"OrderflowRejects": (5, 9)}),
    Situation("a few are rejected", rejecting(4)),
    Situation("some lookups fail", failing(3), {"OrderflowServerErrors": (1, 4)}),
]


def recorded(situation: Situation) -> list[Scrape]:
    system, scrapes = ObservedSystem(), []
    for number in range((ALL_MIN * 60) // EVERY_S + 1):
        wrong = number - WELL_MIN * 60 // EVERY_S
        if wrong == WRONG_MIN * 60 // EVERY_S:
            system.mend()
        elif 0 <= wrong < WRONG_MIN * 60 // EVERY_S:
            situation.scrape(system, wrong)
        system.pass_time()
        scrapes.append(system.scrape())
    return scrapes


def expected(situation: Situation) -> list[dict[str, Any]]:
    """Return which alerts fire at each minute: none at first and at the end; the minutes that are open are left out."""
    told = {minute: list[str]() for minute in (*range(WELL_MIN), ALL_MIN)}
    for minute in range(WRONG_MIN):
        if not any(quiet < minute < firing for quiet, firing in situation.fires.values()):
            told[WELL_MIN + minute] = [name for name, (_, firing) in situation.fires.items() if firing <= minute]
    return [
        {
            "expr": FIRING,
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        for minute, names in told.items()
    ]


async def test_each_alert_fires_when_it_should_and_no_other(tmp_path: Path) -> None:
    """What is well, what is nearly wrong and what was mended raises none."""
    tests = [
        {
            "name": situation.title,
            "interval": f"{EVERY_S}s",
            "input_series": input_series(recorded(situation)),
            "promql_expr_test": expected(situation),
        }
        for situation in SITUATIONS
    ]
    tests[0]["alert_rule_test"] = [
        {
            "alertname": "OrderflowServiceNotWell",
            "eval_time": f"{WELL_MIN + 1}m",
            "exp_alerts": [
                {
                    "exp_labels": {"service": "redis", "severity": "critical"},
                    "exp_annotations": {"summary": "redis is not healthy: see /healthz"},
                }
            ],
        }
    ]
    file = tmp_path / "alerts.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    code, output = await promtool("test", "rules", str(file))
    assert code == 0, output


def test_every_alert_has_a_situation_that_it_fires_in() -> None:
    assert {name for situation in SITUATIONS for name in situation.fires} == {rule["alert"] for rule in rules()}


async def test_the_rules_and_an_exposition_are_as_prometheus_wants_them() -> None:
    """Without a hint of its linter, either."""
    assert (await promtool("check", "rules", "--lint-fatal", str(RULES)))[0] == 0
    system = ObservedSystem()
    system.pass_time()
    assert await promtool("check", "metrics", text=system.exposition()) == (0, "")
