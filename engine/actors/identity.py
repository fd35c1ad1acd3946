"""Who a process is among those of all machines, and who a worker is: in its rows, its pauses and its log lines.

Containers, and machines made from one image, may share a host name and even process ids: a supervisor's id is unlike
any other's.
"""

import os
import socket
from secrets import token_hex

import attrs

SUPERVISOR_VARIABLE = "ORDERFLOW_SUPERVISOR"
"""How a supervisor tells its id to its children."""


def host_name() -> str:
    """Return the name of this machine or container."""
    return socket.gethostname()


def new_supervisor_id() -> str:
    """Return an id that no other supervisor has, on whichever machine."""
    return token_hex(4)


def supervisor_id() -> str:
    """Return the id of this process's supervisor; empty when it has none."""
    return os.environ.get(SUPERVISOR_VARIABLE, "")


@attrs.frozen
class Identity:
    """The consumer group and topic, and the worker's name, host and supervisor: unique together."""

    group: str
    topic: str
    worker: str
    host: str = attrs.field(factory=host_name)
    supervisor: str = attrs.field(factory=supervisor_id)
