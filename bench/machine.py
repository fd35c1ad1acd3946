"""The environment of the measurement: the machine, the versions and the commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis

from bench.testbed import Testbed, connection, redis_of
from orderflow.services.kafka_distribution import VERSION as KAFKA_VERSION
from orderflow.start.project import project_root

_LIBRARIES = ("aiohttp", "aiokafka", "asyncpg", "attrs", "cramjam", "msgspec", "redis", "structlog", "uvloop")
_POSTGRESQL = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
)


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Return a description of the machine. The load average shows whether it was idle."""
    return {
        "cores": cores(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.system(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


async def versions(testbed: Testbed) -> dict[str, Any]:
    """Return the versions of the programs and services, and the relevant settings of PostgreSQL."""
    async with connection(testbed.environment) as database, redis_of(testbed.environment) as redis:
        return {
            "python": platform.python_version(),
            "postgresql": await database.fetchval("SHOW server_version"),
            "postgresql_settings": {name: await database.fetchval(f"SHOW {name}") for name in _POSTGRESQL},
            "redis": await _redis_version(redis),
            "kafka": KAFKA_VERSION if testbed.endpoints.embedded else "",
            "services": testbed.endpoints.origins,
            "libraries": {name: version(name) for name in _LIBRARIES},
        }


async def _redis_version(redis: Redis) -> str:
    info = await redis.info("server")
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"


def commit() -> dict[str, Any]:
    """Return the commit, and whether the work tree differs from it. Empty if there is no repository."""
    commit_id = _git("rev-parse", "HEAD")
    return {"id": commit_id, "modified": bool(_git("status", "--porcelain"))} if commit_id else {}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
