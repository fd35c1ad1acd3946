"""The parts of the benchmark, one group per module. Each records figures. Their goals are in `bench.targets`."""

from collections.abc import Awaitable, Callable

from bench.parts import batch_size, compressed, ingest, latency, lookups, memory, recovery, sizes, wide
from bench.run import Run

PARTS_IN_ORDER: tuple[tuple[frozenset[str], Callable[[Run], Awaitable[None]]], ...] = (
    (ingest.PARTS, ingest.measure),
    (latency.PARTS, latency.measure),
    (lookups.PARTS, lookups.measure),
    (memory.PARTS, memory.measure),
    (compressed.PARTS, compressed.measure),
    (recovery.PARTS, recovery.measure),
    (batch_size.PARTS, batch_size.measure),
    (sizes.PARTS, sizes.measure),
    (wide.PARTS, wide.measure),
)
"""The names of the parts and the functions that measure them, in the order of measurement."""
