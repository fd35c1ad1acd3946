"""Damages what a stopped broker has on disk, as a failing disk does."""

from pathlib import Path

from tests.support.brokers.broker import Broker


def newest_segment(broker: Broker, topic: str, partition: int) -> Path:
    """Return the file of a partition's newest records."""
    return max((broker.data / f"{topic}-{partition}").glob("*.log"))


def spoil_last_byte(broker: Broker, topic: str, partition: int) -> None:
    """Change the last byte of a partition's newest batch. The broker must be down, and have stopped cleanly.

    A broker that was killed looks through its newest segments at its start, and cuts off what is broken.
    """
    assert broker.pid is None, "a broker that runs has its records in memory too"
    with newest_segment(broker, topic, partition).open("r+b") as file:
        file.seek(-1, 2)
        [last] = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last ^ 0xFF]))
