"""A broker that does not answer is told from a topic in which nothing happens."""

from engine.silence import SILENCE_S, Silence

LONG_S = SILENCE_S + 1


def test_a_topic_at_rest_is_no_silence() -> None:
    """Empty answers are answers."""
    silence = Silence()
    assert not any(silence.lasts(answer, answer * SILENCE_S) for answer in range(1, 10))


def test_a_broker_that_stops_answering_is_silent_until_it_answers() -> None:
    """The silence begins with the last answer, and one answer ends it."""
    silence = Silence()
    assert not silence.lasts(1, 1)
    assert not silence.lasts(1, 1 + SILENCE_S)
    assert silence.lasts(1, 1 + LONG_S)
    assert silence.lasts(1, 1 + 10 * LONG_S)
    assert not silence.lasts(2, 1 + 10 * LONG_S)


def test_who_fetches_nothing_misses_nothing() -> None:
    """A worker without partitions hears nothing for ever and is well; its first fetch has the whole time."""
    silence = Silence()
    assert not silence.lasts(None, 10 * LONG_S)
    assert not silence.lasts(0, 11 * LONG_S)
    assert not silence.lasts(0, 11 * LONG_S + SILENCE_S)
    assert silence.lasts(0, 12 * LONG_S)


def test_a_silence_outlasts_the_loss_of_the_partitions() -> None:
    """A worker that loses its partitions in an outage is still in it, until it hears from the group."""
    silence = Silence()
    silence.lasts(1, 0)
    assert silence.lasts(1, LONG_S)
    assert silence.lasts(None, 2 * LONG_S)
    silence.heard(3 * LONG_S)
    assert not silence.lasts(None, 10 * LONG_S)


def test_a_pause_of_our_own_is_no_silence() -> None:
    """Whoever did not poll for long, and then fetched, has heard the broker."""
    silence = Silence()
    silence.lasts(1, 0)
    silence.heard(100 * LONG_S)
    assert not silence.lasts(1, 100 * LONG_S)
