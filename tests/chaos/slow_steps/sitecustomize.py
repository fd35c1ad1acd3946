"""Has every slow step of an event loop written to standard error: asyncio tells of them, and logs may leave some out.

In effect in a process that has this folder in PYTHONPATH and PYTHONASYNCIODEBUG set.
"""

import logging
import os
import sys

logging.getLogger("asyncio").addHandler(logging.StreamHandler())
if "PYTHONASYNCIODEBUG" in os.environ:
    print("slow steps are told", file=sys.stderr, flush=True)
