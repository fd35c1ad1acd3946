"""The window of rates: which buckets are read again, and what is told of them."""

from typing import Any

from lookup.operations.rates import BUCKET_S, BUCKETS, RateWindow

NOW_S = 1_000_000.0
CURRENT = int(NOW_S // BUCKET_S)


def row(bucket: int, accepted: int = 10, rejected: int = 2, cache_s: float | None = 0.002) -> dict[str, Any]:
    return {"bucket": bucket, "accepted": accepted, "rejected": rejected, "commit_s": 0.0123, "cache_s": cache_s}


def test_the_first_reading_wants_the_whole_window() -> None:
    assert RateWindow().first_to_read(NOW_S) == CURRENT - BUCKETS


def test_later_readings_want_only_what_may_have_changed() -> None:
    window = RateWindow()
    window.take([], CURRENT - BUCKETS, NOW_S)
    assert window.first_to_read(NOW_S + 1) == CURRENT - 5
    assert window.first_to_read(NOW_S + 60) == CURRENT - 5, "nothing is left out that was not read meanwhile"
    assert window.first_to_read(NOW_S + 10_000) == CURRENT + 5000 - BUCKETS


def test_rates_are_per_second_and_end_with_the_last_bucket_that_is_over() -> None:
    window = RateWindow()
    window.take([row(CURRENT), row(CURRENT - 1), row(CURRENT - 3, cache_s=None)], CURRENT - BUCKETS, NOW_S)
    told = window.render()
    assert (told["bucket_s"], told["until"]) == (BUCKET_S, NOW_S)
    assert {len(told[name]) for name in ("committed", "rejected", "commit_ms", "cache_ms")} == {BUCKETS}
    assert told["committed"][-4:] == [0, 5.0, 0, 5.0]
    assert told["rejected"][-4:] == [0, 1.0, 0, 1.0]
    assert told["commit_ms"][-4:] == [None, 12.3, None, 12.3]
    assert told["cache_ms"][-4:] == [None, None, None, 2.0]


def test_what_is_read_again_replaces_and_the_rest_stays_until_it_is_too_old() -> None:
    window = RateWindow()
    window.take([row(CURRENT - 9), row(CURRENT - 1), row(CURRENT)], CURRENT - BUCKETS, NOW_S)
    window.take([row(CURRENT - 1, accepted=30)], CURRENT - 5, NOW_S + BUCKET_S)
    told = window.render()
    assert (told["committed"][-10], told["committed"][-2:]) == (5.0, [15.0, 0])
    window.take([], CURRENT + BUCKETS - 5, NOW_S + BUCKETS * BUCKET_S)
    assert set(window.render()["committed"]) == {0}
