"""The metrics of a snapshot, and their documentation."""

import re
from pathlib import Path
from typing import Any

import pytest
from lookup.serving.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families

from tests.support.observed_system import ObservedSystem, worker
from tests.support.queries import Query, queries

ROOT = Path(__file__).parents[2]


def snapshot(*workers: dict[str, Any]) -> dict[str, Any]:
    return {
        "services": {"postgresql": {"status": "ok"}, "dead_letters": {"status": "unavailable", "waiting": 2}},
        "workers": list(workers),
        "partitions": [
            {
                "partition": 0,
                "next_offset": 5,
                "end_offset": None,
                "lag": None,
                "lag_s": None,
                "held_by_transaction": 3,
                "paused_at": "2026-11-30T01:02:03Z",
            }
        ],
    }


def samples(metrics: Metrics, *workers: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """Return each sample's value by its name and its labels' values, in the order of the labels' names."""
    text = metrics.render(snapshot(*workers)).decode()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_workers_are_told_one_by_one_and_summed() -> None:
    found = samples(Metrics("http"), worker(0, 10), worker(1, 5))
    assert found["orderflow_worker_messages_total", "host", "1", "worker-0"] == 10
    assert found["orderflow_messages_total",] == 15
    assert found["orderflow_worker_state", "host", "running", "1", "worker-1"] == 1
    assert found["orderflow_worker_memory_peak_bytes", "host", "1", "worker-0"] == 102_400
    assert found["orderflow_service_up", "dead_letters"] == 0
    assert found["orderflow_dead_letters_waiting",] == 2
    assert found["orderflow_partition_next_offset", "0"] == 5
    assert ("orderflow_partition_end_offset", "0") not in found
    assert found["orderflow_partition_held_messages", "0"] == 3
    assert found["orderflow_partition_paused", "0"] == 1


def test_a_dead_worker_is_gone_and_its_work_stays_in_the_sum() -> None:
    metrics = Metrics("http")
    samples(metrics, worker(0, 10), worker(1, 5))
    found = samples(metrics, worker(0, 12), worker(1, 5, state="dead"))
    assert not [name for name in found if "worker-1" in name]
    assert found["orderflow_messages_total",] == 17
    reborn = worker(1, 2, started_at="2026-01-01T00:01:00Z", restarts=1)
    assert samples(metrics, worker(0, 12), reborn)["orderflow_messages_total",] == 19


def test_a_method_that_somebody_made_up_makes_no_series_of_its_own() -> None:
    metrics = Metrics("http")
    for number in range(100):
        metrics.answered(f"BREW{number}", "-", 405, 0.001, None)
    metrics.answered("GET", "/order/{order_uid}", 200, 0.001, "hit")
    found = samples(metrics)
    assert found["orderflow_http_requests_total", "other", "http", "-", "405"] == 100
    assert found["orderflow_http_requests_total", "GET", "http", "/order/{order_uid}", "200"] == 1
    assert found["orderflow_http_lookups_total", "hit", "http"] == 1
    assert len([name for name in found if name[0] == "orderflow_http_requests_total"]) == 2


def exported() -> dict[str, str]:
    """Return the help of each metric, by the name that queries use."""
    metrics = Metrics("http")
    metrics.answered("GET", "/", 200, 0.001, "hit")
    text = metrics.render(snapshot(worker(0, 1))).decode()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family.documentation
        for family in text_string_to_metric_families(text)
        if not family.name.startswith("orderflow_http_process_") and not family.name.endswith("_created")
    }


def test_the_documentation_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(orderflow_\w+)(?:\{[^}]*\})?` \| ([^|]+) \|$", _read("docs/metrics.md"), re.MULTILINE)
    assert {name: told.strip() for name, told in rows} == exported()


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.expression)
def test_every_query_asks_for_metrics_and_labels_that_are_exported(query: Query) -> None:
    """Of the dashboard and of the alert rules, with the labels that they show."""
    system = ObservedSystem()
    system.pass_time()
    assert not query.missing_in(system.exposition())


def test_all_files_of_the_pages_are_one_route() -> None:
    """A page loads dozens, and each would have a histogram that tells nothing."""
    metrics = Metrics("http")
    for number in range(70):
        metrics.answered("GET", f"/ui/orders/{number}.js", 200, 0.001, None)
    metrics.answered("GET", "/", 200, 0.001, None)
    found = samples(metrics)
    assert found["orderflow_http_requests_total", "GET", "http", "/ui/{file}", "200"] == 70
    assert len([name for name in found if name[0] == "orderflow_http_request_seconds_bucket"]) == 2 * 12


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")
