"""Errors for which a dead letter can never be published as it is: the broker refuses this one record.

Such a dead letter is set aside, and the others are published. Errors of the topic, the broker or the network are
temporary: publishing is tried again.
"""

from typing import Any

from aiokafka import errors as kafka

from engine.dead_letters.store import TOO_LARGE

SMALL_LETTER_BYTES = 64 * 1024
"""If a topic accepts no dead letter and refuses even one of this size as too large, its configuration is wrong.

Then the publisher waits until that is corrected.
"""
INVALID = "refused by the dead-letter topic: invalid record"
INVALID_WITHOUT_KEY = f"{INVALID}, and it has no key (a compacted topic takes none without)"
UNREADABLE = "its row cannot be made into a message"
REFUSALS = (TOO_LARGE, INVALID, INVALID_WITHOUT_KEY, UNREADABLE)
"""All reasons for which a dead letter is set aside. It can be published once the topic or the row is corrected.

They are stored in the column `publish_error` and compared with it: a text that is changed matches no older row.
"""


class InvalidRecordError(kafka.BrokerResponseError):  # type: ignore[misc]  # aiokafka is not typed
    """The broker refused a record that breaks a rule of its topic, for example of compaction or of a schema."""

    errno = 87
    message = "INVALID_RECORD"
    description = "This record has failed the validation on the broker and hence was rejected."


# aiokafka (0.14.0) does not know this code and would report it as an unknown server error. A producer looks codes up in
# this table only; if a later version knows the code, its own class stays.
kafka.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

_INVALID = kafka.kafka_errors[InvalidRecordError.errno]
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def letter_bytes(letter: Any) -> int:
    """Return the size of a dead letter's key and value in bytes, without its headers."""
    return len(letter["payload"] or b"") + len(letter["key"] or b"")


def concerns_one_record(error: BaseException | None) -> bool:
    """Return whether the error is caused by a record. The broker refuses a whole batch because of one record in it.

    An invalid timestamp does not count: the timestamp of a dead letter is the time of sending, so the cause is the
    clock or the topic.
    """
    return isinstance(error, (_INVALID, kafka.CorruptRecordException, *_TOO_LARGE))


def reason_to_set_aside(letter: Any, error: BaseException | None, *, others_taken: bool) -> str | None:
    """Return why a dead letter that was sent alone and refused must be set aside. None if waiting may help.

    `others_taken` says whether the topic has just accepted dead letters that were not larger.
    """
    if isinstance(error, _TOO_LARGE):
        return TOO_LARGE if others_taken or letter_bytes(letter) > SMALL_LETTER_BYTES else None
    # Brokers before Kafka 2.4 report a missing key as a corrupt record. Its other causes are temporary.
    if letter["key"] is None and isinstance(error, (_INVALID, kafka.CorruptRecordException)):
        return INVALID_WITHOUT_KEY
    return INVALID if isinstance(error, _INVALID) else None
