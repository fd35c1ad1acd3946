"""Runs the supervisor with its workers until Ctrl-C or SIGTERM. Start it with `python -m` and the package's name."""

import sys

from engine import run

from .pipeline import PIPELINE

if __name__ == "__main__":
    sys.exit(run(PIPELINE, __package__, sys.argv[1:]))
