"""`python -m bench.figures`: draws docs/images/performance-*.svg from the committed results in bench/results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.drawing import DARK, LIGHT, Bar, Palette, Ratio, bars, ratios
from bench.results import LATEST
from orderflow.start.project import project_root

RESULTS = LATEST.parent
IMAGES = project_root() / "docs" / "images"
_THEMES = {"light": LIGHT, "dark": DARK}
_TICKS = (0.5, 1, 2, 4)
_LOOKUPS = {"Cached": "cached", "Cold": "cold", "Not found": "absent"}
COMPARED = {
    "ingest": "Ingest",
    "processor_program": "Processor time of the engine, per order",
    "processor_kafka": "Processor time of Kafka, per order",
    "processor_all_ingest": "Processor time of all, per order",
    "memory_ingest": "Memory of a worker, ingest, peak",
    "latency_p50": "Publish to visible, 200/s, p50",
    "latency_p99": "Publish to visible, 200/s, p99",
    "latency_processor": "Processor time of a worker, a lone order",
    "latency_3000_p50": "Publish to visible, 3,000/s, p50",
    "latency_3000_p99": "Publish to visible, 3,000/s, p99",
    "lookups_orderflow_cached_1": "Lookups, cached",
    "lookups_orderflow_cached_1_p99": "Lookups, cached, p99",
    "lookups_orderflow_cached_1_processor": "Lookups, cached, processor time",
    "lookups_orderflow_cold_1": "Lookups, cold",
    "lookups_orderflow_absent_1": "Lookups, not found",
}
"""The rows of the comparison with the build before, by the names that they have in the table."""


def figures() -> dict[str, str]:
    """Return every figure as SVG, by the name of its file."""
    beside, before = read_results("beside-others"), read_results("against-before")
    return {
        f"performance-{name}-{theme}.svg": drawn
        for theme, palette in _THEMES.items()
        for name, drawn in {
            "ingest": _ingest(beside["figures"], palette),
            "lookups": _lookups(beside["figures"], palette),
            "before": _before(before["comparison"]["figures"], palette),
        }.items()
    }


def read_results(name: str) -> Any:
    """Return committed results, by the name under which they were kept."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _ingest(measured: Mapping[str, Any], palette: Palette) -> str:
    names = {"ingest": "orderflow", "copy_limit": "raw COPY of prepared rows", "peer": "Go, without guarantees"}
    group = [_bar(name, measured[key], ours=key == "ingest") for key, name in names.items()]
    return bars("Orders per second into PostgreSQL", [("Orders per second", group)], palette)


def _lookups(measured: Mapping[str, Any], palette: Palette) -> str:
    groups = [
        (
            f"{name}, requests per second",
            [
                _bar("orderflow, one process", measured[f"lookups_orderflow_{kind}_1"], ours=True),
                _bar("Go, both cores", measured[f"lookups_peer_{kind}"]),
                _bar("plain handler, one process", measured[f"lookups_plain_{kind}_1"]),
            ],
        )
        for name, kind in _LOOKUPS.items()
    ]
    return bars("Lookups per second", groups, palette)


def _bar(name: str, figure: Mapping[str, Any], *, ours: bool = False) -> Bar:
    return Bar(name, figure["median"], figure["low"], figure["high"], ours)


def _before(compared: Mapping[str, Any], palette: Palette) -> str:
    rows = [
        Ratio(name, times["ratio"], times["low"], times["high"])
        for key, name in COMPARED.items()
        for times in [compared[key]["times_as_good"]]
    ]
    return ratios("How many times as good as the build before", rows, _TICKS, palette)


def main(folder: Path = IMAGES) -> None:
    """Write all figures."""
    for name, drawn in figures().items():
        (folder / name).write_text(drawn, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
