"""Who a worker is: in its transactions, its pauses, and the rows that tell of its batches."""

import socket

import attrs


@attrs.frozen
class Identity:
    """The consumer group and topic, and the worker's name and host."""

    group: str
    topic: str
    worker: str
    host: str = attrs.field(factory=socket.gethostname)
