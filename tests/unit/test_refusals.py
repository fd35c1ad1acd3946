"""What workers say of refused partitions, in one form whatever build they are of."""

from lookup.operations.refusals import read_refusals, refusals_of
from msgspec import json

BROKEN = {"offset": 7, "reason": "corrupt_batch", "detail": "a checksum is wrong", "fix": "orderflow offsets skip"}


def test_what_a_worker_says_is_passed_on() -> None:
    assert read_refusals({"refused": {"3": BROKEN}}) == {"3": BROKEN}
    assert read_refusals({}) == {}


def test_the_text_of_an_older_build_gets_the_same_form() -> None:
    told = read_refusals(
        {"refused": {"0": "the broker no longer has offset 7", "1": "it was deleted and created anew"}}
    )
    assert [one["reason"] for one in told.values()] == ["out_of_range", "topic_recreated"]
    assert told["0"] == {
        "offset": None,
        "reason": "out_of_range",
        "detail": "the broker no longer has offset 7",
        "fix": "orderflow offsets reset",
    }


def test_the_living_workers_are_asked_and_partitions_come_in_their_order() -> None:
    rows = [
        {"state": state, "details": json.encode({"refused": {partition: BROKEN}})}
        for partition, state in (("10", "idle"), ("9", "idle"), ("1", "dead"))
    ]
    assert list(refusals_of(rows)) == ["9", "10"]
