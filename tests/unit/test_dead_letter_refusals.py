"""What a broker refuses: for one record's sake, and that letter is set aside; or for the topic's, and all wait."""

from typing import Any

import pytest
from aiokafka import errors as kafka

from engine.dead_letters.refusals import (
    INVALID,
    INVALID_WITHOUT_KEY,
    REFUSALS,
    SMALL_LETTER_BYTES,
    InvalidRecordError,
    concerns_one_record,
    reason_to_set_aside,
)
from engine.dead_letters.store import TOO_LARGE

SMALL: dict[str, Any] = {"key": b"k", "payload": b"p"}
KEYLESS: dict[str, Any] = {"key": None, "payload": b"p"}
LARGE: dict[str, Any] = {"key": b"k", "payload": b"p" * SMALL_LETTER_BYTES}


def test_the_code_of_an_invalid_record_is_known() -> None:
    """By itself the client tells it as the error of a server that has broken down."""
    assert kafka.for_code(87) is InvalidRecordError
    assert kafka.for_code(-1) is kafka.UnknownError


@pytest.mark.parametrize(
    ("error", "letter", "others_taken", "reason"),
    [
        (InvalidRecordError(), SMALL, False, INVALID),
        (InvalidRecordError(), KEYLESS, False, INVALID_WITHOUT_KEY),
        (kafka.CorruptRecordException(), KEYLESS, False, INVALID_WITHOUT_KEY),
        (kafka.CorruptRecordException(), SMALL, True, None),
        (kafka.MessageSizeTooLargeError(), LARGE, False, TOO_LARGE),
        (kafka.RecordListTooLargeError(), LARGE, False, TOO_LARGE),
        (kafka.MessageSizeTooLargeError(), SMALL, True, TOO_LARGE),
        (kafka.MessageSizeTooLargeError(), SMALL, False, None),
    ],
)
def test_what_one_record_is_to_blame_for_sets_its_letter_aside(
    error: kafka.KafkaError, letter: dict[str, Any], others_taken: bool, reason: str | None
) -> None:
    """A size only if the topic takes others, or if no topic that is in order would refuse so small a letter."""
    assert concerns_one_record(error)
    assert reason_to_set_aside(letter, error, others_taken=others_taken) == reason
    assert reason is None or reason in REFUSALS


@pytest.mark.parametrize(
    "error",
    [
        kafka.UnknownError(),
        kafka.UnknownTopicOrPartitionError(),
        kafka.TopicAuthorizationFailedError(),
        kafka.NotEnoughReplicasError(),
        kafka.InvalidTimestampError(),
        kafka.UnsupportedForMessageFormatError(),
        kafka.KafkaTimeoutError(),
        kafka.KafkaConnectionError(),
        TimeoutError(),
    ],
)
def test_what_concerns_the_topic_or_the_broker_is_waited_for(error: Exception) -> None:
    """A timestamp too: it is that of the sending, and tells of a clock or of the topic's settings."""
    assert not concerns_one_record(error)
    assert reason_to_set_aside(KEYLESS, error, others_taken=True) is None
