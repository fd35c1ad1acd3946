"""Has every slow step of an event loop written to standard error: asyncio tells of them, and logs may leave some out.

In effect in a process that has this folder in PYTHONPATH and PYTHONASYNCIODEBUG set.
"""

import logging

logging.getLogger("asyncio").addHandler(logging.StreamHandler())
