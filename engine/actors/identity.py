"""The identity of supervisors and workers, unique across all machines. It is in their rows and log lines.

Containers, and machines made from one image, may have the same host name and even the same process ids. So each
supervisor has a random id.
"""

import os
import socket
from secrets import token_hex

import attrs

SUPERVISOR_VARIABLE = "ORDERFLOW_SUPERVISOR"
"""The environment variable that gives the supervisor's id to its child processes."""


def host_name() -> str:
    """Return the name of this machine or container."""
    return socket.gethostname()


def new_supervisor_id() -> str:
    """Return an id that is unique among the supervisors of all machines."""
    return token_hex(4)


def supervisor_id() -> str:
    """Return the id of this process's supervisor. Empty if the process has no supervisor."""
    return os.environ.get(SUPERVISOR_VARIABLE, "")


@attrs.frozen
class Identity:
    """A worker's consumer group, topic, name, host and supervisor. The combination is unique."""

    group: str
    topic: str
    worker: str
    host: str = attrs.field(factory=host_name)
    supervisor: str = attrs.field(factory=supervisor_id)
