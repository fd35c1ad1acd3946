"""Why a letter can never go to the dead-letter topic as it is: what a broker refuses for the one record's sake.

Such a letter is set aside, and its neighbours go on. What concerns the topic, the broker or the way there passes.
"""

from typing import Any

from aiokafka import errors as kafka

from engine.dead_letters.store import TOO_LARGE

SMALL_LETTER_BYTES = 64 * 1024
"""A topic that takes nothing and finds even such a letter too large is out of order, and is waited for."""
INVALID = "refused by the dead-letter topic: invalid record"
INVALID_WITHOUT_KEY = f"{INVALID}, and it has no key (a compacted topic takes none without)"
UNREADABLE = "its row cannot be made into a message"
REFUSALS = (TOO_LARGE, INVALID, INVALID_WITHOUT_KEY, UNREADABLE)
"""All reasons for which a letter is set aside. Once the topic or the row is mended, it may be published after all."""


class InvalidRecordError(kafka.BrokerResponseError):  # type: ignore[misc]  # aiokafka is not typed
    """A broker's refusal of a record that breaks a rule of its topic: of compaction, or of a schema."""

    errno = 87
    message = "INVALID_RECORD"
    description = "This record has failed the validation on the broker and hence was rejected."


# aiokafka (0.14.0) does not know this code, and would tell it as the error of a server that has broken down. A producer
# looks codes up in this table alone; where a later version knows the code, its own class stays.
kafka.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

_INVALID = kafka.kafka_errors[InvalidRecordError.errno]
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def letter_bytes(letter: Any) -> int:
    """Return the size of what a letter holds for the topic, without its headers."""
    return len(letter["payload"] or b"") + len(letter["key"] or b"")


def concerns_one_record(error: BaseException | None) -> bool:
    """Whether one record is to blame, though not always the one refused: the records of a batch are refused together.

    A timestamp is not the record's: letters bear the time of their sending, so it tells of a clock, or of the topic.
    """
    return isinstance(error, (_INVALID, kafka.CorruptRecordException, *_TOO_LARGE))


def reason_to_set_aside(letter: Any, error: BaseException | None, *, others_taken: bool) -> str | None:
    """Return why a letter that was refused alone must be set aside, or None where waiting may help.

    `others_taken` says that the topic has just taken letters that were no larger.
    """
    if isinstance(error, _TOO_LARGE):
        return TOO_LARGE if others_taken or letter_bytes(letter) > SMALL_LETTER_BYTES else None
    # Brokers before Kafka 2.4 tell a missing key as a corrupt record; what else that may mean passes.
    if letter["key"] is None and isinstance(error, (_INVALID, kafka.CorruptRecordException)):
        return INVALID_WITHOUT_KEY
    return INVALID if isinstance(error, _INVALID) else None
