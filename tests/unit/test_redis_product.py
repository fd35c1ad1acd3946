"""Doctor names a server as what it is, not as the Redis whose commands it has."""

from typing import Any

import pytest

from orderflow.doctor.finding import Outcome
from orderflow.doctor.redis_checks import _version

TOO_OLD = "KeyDB 6.3.4 is too old: run Redis 7.0 or later, or Valkey"


@pytest.mark.parametrize(
    ("server", "outcome", "told"),
    [
        ({"redis_version": "7.4.1", "executable": "/usr/bin/redis-server"}, Outcome.OK, "Redis 7.4.1"),
        ({"redis_version": "6.2.7"}, Outcome.FAILED, "Redis 6.2.7 is too old: run Redis 7.0 or later, or Valkey"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.0"}, Outcome.OK, "Valkey 8.1.0"),
        (
            {"redis_version": "7.4.0", "dragonfly_version": "df-v1.30.0"},
            Outcome.OK,
            "Dragonfly df-v1.30.0, with the commands of Redis 7.4.0",
        ),
        ({"redis_version": "6.3.4", "executable": "/usr/local/bin/keydb-server"}, Outcome.FAILED, TOO_OLD),
    ],
)
def test_a_server_is_named_as_it_names_itself(server: dict[str, Any], outcome: Outcome, told: str) -> None:
    finding = _version(server)
    assert (finding.outcome, finding.message) == (outcome, told)
