"""`python -m examples.page_views`: the supervisor with its workers, until Ctrl-C or SIGTERM."""

import sys

from engine.pipeline import run
from examples.page_views.pipeline import PIPELINE

if __name__ == "__main__":
    sys.exit(run(PIPELINE, "examples.page_views", sys.argv[1:]))
