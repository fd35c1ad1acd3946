"""The plan of a run: its parts, rounds and sizes."""

from collections.abc import Mapping
from typing import Any

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
    "lookup-peer",
    "memory",
    "compressed",
    "recovery",
    "batch-size",
    "sizes",
    "wide",
)
"""The names of all parts, in the order in which they are measured."""
PLOTTED = frozenset({"batch-size"})
ASKED_FOR = frozenset({"sizes", "wide"})
"""Parts that are measured only if they are named."""
LONG = frozenset({"stored", "memory", *ASKED_FOR, *PLOTTED})
PEERS = frozenset({"peer", "lookup-peer"})
REFERENCES = frozenset({"observability", "yardstick", *PEERS})
"""Parts that compare a build with another program or with itself. They are not used to compare two builds."""


EMBEDDED, SMALL, LARGE = SERVERS = ("embedded", "128MB", "1GB")
"""The PostgreSQL servers of the part `sizes`: that of the run, and Debian's with `shared_buffers` of this size."""


@attrs.frozen(kw_only=True)
class Plan:
    """The plan of a run. Sizes are in orders, times in seconds. `few_rounds` is for memory and recovery."""

    parts: frozenset[str]
    quick: bool = False
    peer: str = ""
    lookup_peer: str = ""
    seed: int = 1
    random_uids: bool = False
    rounds: int = 3
    few_rounds: int = 1
    orders: int = 300_000
    warm_up: bool = True
    stored: int = 2_000_000
    memory_orders: int = 1_000_000
    unpacked_mb: int = 900
    latency_s: float = 20.0
    lookup_orders: int = 50_000
    lookup_s: float = 8.0
    processes: tuple[int, ...] = (1, 2)
    batch_sizes: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000, 5000)
    sizes: tuple[int, ...] = (100_000, 1_000_000, 3_000_000, 10_000_000)
    servers: tuple[str, ...] = SERVERS
    wide_workers: tuple[int, ...] = (1, 2, 4)
    wide_partitions: tuple[int, ...] = (4, 16, 64, 256)
    wide_processes: tuple[int, ...] = (1, 2, 4)
    idle_s: float = 10.0

    @property
    def burst_s(self) -> float:
        """For how many seconds orders are published at the high rate."""
        return self.latency_s / 2


QUICK = {
    "rounds": 2,
    "orders": 15_000,
    "warm_up": False,
    "stored": 100_000,
    "memory_orders": 60_000,
    "unpacked_mb": 100,
    "latency_s": 3.0,
    "lookup_orders": 3_000,
    "lookup_s": 1.0,
    "processes": (1,),
    "batch_sizes": (100, 1000),
    "sizes": (20_000, 100_000),
    "wide_workers": (1, 2),
    "wide_partitions": (4, 64),
    "wide_processes": (1, 2),
    "idle_s": 2.0,
}
"""The values for `--quick`: a run that checks that everything works. Its figures are not reliable."""


COMPARED = {
    "rounds": 10,
    "few_rounds": 4,
    "orders": 100_000,
    "stored": 500_000,
    "memory_orders": 300_000,
    "latency_s": 8.0,
    "lookup_orders": 20_000,
    "lookup_s": 4.0,
}
"""The values for a comparison of two builds: more rounds with smaller sizes, because a round has four measurements."""
QUICKLY_COMPARED = {**QUICK, "rounds": 3, "few_rounds": 2}


def default_parts(*, quick: bool, plots: bool, base: bool, peers: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the parts that are measured by default. `peers` are the parts of `PEERS` that have a program to run."""
    left_out = LONG if quick else PLOTTED | ASKED_FOR
    if plots:
        left_out -= PLOTTED
    left_out |= PEERS - peers
    if base:
        left_out |= REFERENCES
    return frozenset(PARTS) - left_out


def planned(parts: frozenset[str], peer: str, *, quick: bool, base: bool, chosen: Mapping[str, Any]) -> Plan:
    """Return the plan. The values in `chosen` (by field name) replace the defaults for this kind of run."""
    sizes: dict[str, Any] = (QUICKLY_COMPARED if base else QUICK) if quick else (COMPARED if base else {})
    sizes = {**sizes, **{name: value for name, value in chosen.items() if value not in {None, False}}}
    plan = Plan(parts=parts, peer=peer, quick=quick, **sizes)
    return attrs.evolve(plan, few_rounds=min(plan.few_rounds, plan.rounds))
