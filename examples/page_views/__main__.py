"""The supervisor with its workers, until Ctrl-C or SIGTERM: `python -m` and the folder's name with dots."""

import sys

from engine import run

from .pipeline import PIPELINE

if __name__ == "__main__":
    sys.exit(run(PIPELINE, __package__, sys.argv[1:]))
