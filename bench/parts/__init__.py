"""What is measured, one group of parts a module. Each records figures; `bench.targets` says what they are to be."""

from collections.abc import Awaitable, Callable

from bench.parts import compressed, ingest, latency, lookups, memory, recovery, sizes
from bench.run import Run

PARTS_IN_ORDER: tuple[tuple[frozenset[str], Callable[[Run], Awaitable[None]]], ...] = (
    (ingest.PARTS, ingest.measure),
    (latency.PARTS, latency.measure),
    (lookups.PARTS, lookups.measure),
    (memory.PARTS, memory.measure),
    (compressed.PARTS, compressed.measure),
    (recovery.PARTS, recovery.measure),
    (sizes.PARTS, sizes.measure),
)
"""The names of the parts and what measures them, in the order in which that is done."""
