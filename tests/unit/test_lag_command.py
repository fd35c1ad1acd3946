"""`orderflow lag` for people: a table whose columns have names."""

from engine.kafka.lag import Lag
from orderflow.commands.lag import describe


def test_owner_and_held_messages_are_columns() -> None:
    """Numbers are aligned to the right; what is unknown is a dash; an owner cannot move the cursor."""
    lags = [
        Lag(partition=0, next_offset=1_200, end_offset=1_250, messages=50, seconds=3.26, held=0),
        Lag(partition=1, next_offset=7, end_offset=7, messages=0, seconds=0.0, held=101),
        Lag(partition=2, next_offset=None, end_offset=None, messages=None, seconds=None, held=None),
    ]
    owners = {0: "a-host/worker-1", 1: "b\x1bhost/worker-1", 2: "foreign"}
    assert describe(lags, owners, {2}) == [
        "partition  messages  seconds  held  next offset    end  owner",
        "0                50      3.3     0        1,200  1,250  a-host/worker-1",
        r"1                 0      0.0   101            7      7  b\x1bhost/worker-1",
        "2                 –        –     –            –      –  foreign             no leader, see `orderflow doctor`",
        f"total            50        –   101{'':42}without 1 of 3 partitions, whose lag is unknown",
    ]
