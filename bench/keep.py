"""`python -m bench.keep NAME [FILE]`: keeps results of `make bench` in bench/results/NAME.json, to be committed.

What figures are drawn from is kept. Left out are the values of single runs, and the command lines of other programs,
which are paths of one machine.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.results import LATEST, write

_LEFT_OUT = ("runs", "goals")
_PATHS = ("peer", "lookup_peer")


def keep(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the results that is kept."""
    kept = {name: value for name, value in results.items() if name not in _LEFT_OUT}
    kept["plan"] = {name: value for name, value in results["plan"].items() if name not in _PATHS}
    if comparison := results.get("comparison"):
        kept["comparison"] = {name: value for name, value in comparison.items() if name not in _LEFT_OUT}
    return kept


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=LATEST)
def main(name: str, file: Path) -> None:
    """Keep the results in FILE (bench/results/latest.json) as bench/results/NAME.json."""
    write(keep(json.loads(file.read_text(encoding="utf-8"))), LATEST.with_name(f"{name}.json"))


if __name__ == "__main__":
    main()
