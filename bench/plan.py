"""How much a run does: sizes, rounds and parts."""

import attrs

PARTS = (
    "ingest",
    "invalid",
    "repeats",
    "stored",
    "observability",
    "yardstick",
    "peer",
    "latency",
    "lookups",
    "memory",
    "batch-size",
    "table-size",
)
"""Every part by its name, in the order in which they are measured."""
PLOTTED = frozenset({"batch-size", "table-size"})
LONG = frozenset({"stored", "memory", *PLOTTED})


@attrs.frozen(kw_only=True)
class Plan:
    """Sizes are in orders, times in seconds."""

    parts: frozenset[str]
    peer: str = ""
    seed: int = 1
    random_uids: bool = False
    rounds: int = 3
    orders: int = 300_000
    warm_up: bool = True
    stored: int = 2_000_000
    memory_orders: int = 1_000_000
    latency_s: float = 20.0
    lookup_orders: int = 50_000
    lookup_s: float = 8.0
    processes: tuple[int, ...] = (1, 2)
    batch_sizes: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000, 5000)
    table_sizes: tuple[int, ...] = (0, 250_000, 500_000, 1_000_000, 2_000_000)

    @property
    def burst_s(self) -> float:
        """How long orders are published at the high rate."""
        return self.latency_s / 2


QUICK = {
    "rounds": 2,
    "orders": 15_000,
    "warm_up": False,
    "stored": 100_000,
    "memory_orders": 60_000,
    "latency_s": 3.0,
    "lookup_orders": 3_000,
    "lookup_s": 1.0,
    "processes": (1,),
    "batch_sizes": (100, 1000),
    "table_sizes": (0, 50_000),
}
"""What `--quick` changes: a run to see that everything works, whose figures say little."""


def default_parts(*, quick: bool, plots: bool, peer: bool) -> frozenset[str]:
    """Return the parts that are measured when nobody chooses."""
    left_out = LONG if quick else PLOTTED
    if plots:
        left_out -= PLOTTED
    if not peer:
        left_out |= {"peer"}
    return frozenset(PARTS) - left_out
