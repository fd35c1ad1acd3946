"""Lowers the deadline of work on a connection to PostgreSQL, a minute, to LINK_DEADLINE_S seconds.

A session that blocks another one is looked at after a quarter of that. Python runs this file if its folder is on
PYTHONPATH.
"""

import os

from engine.postgres.blockers import BlockerWatch
from engine.postgres.link import Link

if "LINK_DEADLINE_S" in os.environ:
    _deadline_s = float(os.environ["LINK_DEADLINE_S"])
    Link.__init__.__defaults__ = (_deadline_s, None)  # type: ignore[misc]
    BlockerWatch.__init__.__defaults__ = (_deadline_s / 4,)  # type: ignore[misc]
