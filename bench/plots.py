"""Draws throughput against batch size and against the number of stored orders, for the documentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

from orderflow.start.project import project_root

IMAGES = project_root() / "docs" / "images"
_BY_BATCH_SIZE = ("batch_size_", "Orders in a batch, at most (BATCH_MAX_ORDERS)", True)
_BY_STORED_ORDERS = ("stored_embedded_ingest_", "Orders stored already", False)
_SIZE_INCHES = (7, 4)
_INK = "#1f5fbf"


def draw(results: Mapping[str, Any], folder: Path = IMAGES) -> list[Path]:
    """Draw both plots from the results, and return the files."""
    # The same results give the same bytes, so a commit shows only real changes.
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "orderflow"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (prefix, label, logarithmic) in {"batch-size": _BY_BATCH_SIZE, "table-size": _BY_STORED_ORDERS}.items():
        if points := _points(results["figures"], prefix):
            drawn.append(_draw(folder / f"bench-{name}.svg", points, label, logarithmic=logarithmic))
    return drawn


def _points(figures: Mapping[str, Any], prefix: str) -> list[tuple[int, float, float, float]]:
    """Return (size, median, low, high) for each size, in order."""
    return sorted(
        (int(key.removeprefix(prefix)), figure["median"], figure["low"], figure["high"])
        for key, figure in figures.items()
        if key.startswith(prefix)
    )


def _draw(file: Path, points: Sequence[tuple[int, float, float, float]], label: str, *, logarithmic: bool) -> Path:
    sizes, medians, lows, highs = zip(*points, strict=True)
    figure, axes = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
    axes.fill_between(sizes, lows, highs, color=_INK, alpha=0.15, linewidth=0)
    axes.plot(sizes, medians, color=_INK, marker="o")
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xticks(sizes)
        axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("orders/s (median, and range of the rounds)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file
