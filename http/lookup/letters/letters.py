"""Reads dead letters for HTTP, and replays them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import structlog

from engine.dead_letters.headers import replay_headers
from engine.dead_letters.list import LetterCursor, Selection, count_letters, find_letter, list_letters
from engine.dead_letters.replay import (
    AT_THE_LIMIT,
    NO_PARTITION,
    ON_ITS_WAY,
    Outgoing,
    ReplayPlan,
    ReplayRun,
    count_replays,
    repeat,
)
from engine.dead_letters.store import REPLAY_LIMIT, Owner
from engine.records import Place
from handlers.value_formats import corrected
from lookup.letters.query import LetterSearch
from lookup.letters.sender import MESSAGE_TOO_LARGE, NOT_ACKNOWLEDGED, RETRY_LATER, LetterSender
from lookup.letters.turn import ReplayTurn
from lookup.serving import events
from lookup.serving.options import LookupOptions
from lookup.serving.refusal import Refused
from lookup.serving.store_reader import StoreReader, StoresUnavailable

if TYPE_CHECKING:
    from lookup.serving.store_reader import Pool

T = TypeVar("T")

MAX_COUNTED = 100_000
"""Counting stops at this number: a request must not read millions of rows."""
UNAVAILABLE = "unavailable"
RESOLVED, UNCHANGED = "resolved", "unchanged"
_CONSUMED = """
SELECT coalesce(max(next_offset), 0) > $4 FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 AND partition = $3
"""

log = structlog.get_logger()


@attrs.frozen
class LetterPage:
    """The rows of one page, and where the next page begins; None when this is the last one."""

    letters: list[Any]
    next: LetterCursor | None


@attrs.frozen
class ReplayOutcome:
    """The result of a replay: letters sent, by reason; letters not acknowledged, by cause; and how many are left.

    `trouble` is the error code of what stopped the replay early, or None.
    """

    replayed: Mapping[str, int]
    not_acknowledged: Mapping[str, int]
    left: int
    trouble: str | None


class DeadLetters:
    """The dead letters of this server's consumer group: read with a small connection pool, sent by one producer."""

    def __init__(self, pool: "Pool", sender: LetterSender, owner: Owner, options: LookupOptions) -> None:
        self._reader = StoreReader(
            "dead_letters", pool, deadline_s=options.store_deadline_s, in_all_s=options.lookup_deadline_s
        )
        self._sender = sender
        self._owner = owner
        self._options = options
        self._turn = ReplayTurn(pool, owner, deadline_s=options.store_deadline_s, longest_s=options.replay_deadline_s)

    async def read(self, query: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `query` returns. Raises `StoresUnavailable`, at the latest at the deadline."""
        return await self._reader.read(query)

    async def page(self, search: LetterSearch) -> LetterPage:
        """Return a page of the list, latest failure first."""
        rows = await self.read(
            lambda connection: list_letters(connection, self._owner, search.selection, search.limit + 1, search.before)
        )
        shown = rows[: search.limit]
        if len(rows) == len(shown):
            return LetterPage(shown, None)
        last = shown[-1]
        return LetterPage(shown, LetterCursor(last["failed_at"], last["partition"], last["kafka_offset"]))

    async def counts(self, selection: Selection) -> dict[str, int]:
        """Return the number of letters by reason; counts at most `MAX_COUNTED` letters."""
        return await self.read(lambda connection: count_letters(connection, self._owner, selection, MAX_COUNTED))

    async def find(self, place: Place) -> Any:
        """Return a letter's row. Raises `Refused`, which says whether the engine has consumed that offset."""

        async def query(connection: Any) -> tuple[bool, Any]:
            # The order matters: a message that is consumed and was rejected has its letter by the second query.
            consumed = await connection.fetchval(_CONSUMED, self._owner.group, self._owner.topic, *place)
            return consumed, await find_letter(connection, self._owner, place)

        consumed, letter = await self.read(query)
        if letter is None:
            raise Refused("letter_not_found", 404, consumed=consumed)
        return letter

    async def plan(self, selection: Selection) -> dict[str, Any]:
        """Return what a replay of all selected letters would do, as a JSON object. Raises `BrokerUnavailable`.

        `as_of` is the time at which they were counted, as the filter `until`: with it, the calls of a longer replay
        select no letter that fails later, nor one that they have sent and that is rejected again.
        """
        replay = await self._replay(selection)
        return self._describe(replay, await self._plan(replay))

    async def replay(self, selection: Selection, expected: int) -> ReplayOutcome:
        """Send the selected letters, up to a maximum per call. Raises `Refused` when their number is not `expected`.

        Raises `BrokerUnavailable` before anything is sent; later failures are in the outcome. Replays run one after the
        other: two would send the same letters.
        """
        async with self._turn.take():
            return await self._replay_selected(selection, expected)

    async def _replay_selected(self, selection: Selection, expected: int) -> ReplayOutcome:
        replay = await self._replay(selection)
        plan = await self._plan(replay)
        if plan.total != expected:
            raise Refused("count_changed", 409, plan=self._describe(replay, plan))
        replayed: Counter[str] = Counter()
        run = _Run(self._sender, self._options.replay_deadline_s)
        trouble = None
        try:
            await replay.run(self, run, min(plan.total, self._options.replay_max_letters), replayed)
        except StoresUnavailable:
            trouble = UNAVAILABLE
        if run.refusals[NOT_ACKNOWLEDGED]:
            trouble = NOT_ACKNOWLEDGED
        outcome = ReplayOutcome(dict(replayed), dict(run.refusals), plan.total - replayed.total(), trouble)
        log.info(events.LETTERS_SENT_AGAIN, topic=self._owner.topic, letters=replayed.total(), **attrs.asdict(outcome))
        return outcome

    def _describe(self, replay: ReplayRun, plan: ReplayPlan) -> dict[str, Any]:
        return {
            "total": plan.total,
            "chosen": plan.chosen,
            "skipped": plan.skipped,
            "complete": plan.matching < MAX_COUNTED,
            "per_call": self._options.replay_max_letters,
            "as_of": replay.selection.until,
        }

    async def replay_one(self, place: Place) -> Place:
        """Replay one letter, and return the new message's place. Raises `Refused` or `BrokerUnavailable`."""
        letter = await self.find(place)
        if letter["on_its_way"]:
            raise Refused("not_replayable", 409, why=ON_ITS_WAY)
        if letter["replay_count"] >= REPLAY_LIMIT:
            raise Refused("not_replayable", 409, why=AT_THE_LIMIT)
        sent = await self._send(letter, repeat(letter))
        log.info(events.LETTERS_SENT_AGAIN, topic=self._owner.topic, letters=1, replayed={letter["reason"]: 1}, left=0)
        # The letter was sent even if the count cannot be stored. Sending it once more is the same replay.
        with suppress(StoresUnavailable):
            await count_replays(self, self._owner, [letter])
        return sent

    async def send_corrected(self, place: Place, payload: bytes) -> Place:
        """Send a payload that a person has corrected instead of a letter's own, and return the new message's place.

        The message names the letter that it corrects. It does not count as a replay of that letter. Raises `Refused`
        or `BrokerUnavailable`.
        """
        letter = await self.find(place)
        payload = corrected(payload, letter["payload"], self._options.value_format)
        if letter["payload"] == payload:
            raise Refused("not_replayable", 409, why=UNCHANGED)
        headers = tuple(replay_headers(letter, forced=False))
        sent = await self._send(letter, Outgoing(letter["key"], payload, headers, letter["partition"]))
        log.info(
            events.LETTER_MENDED,
            topic=self._owner.topic,
            letter="{}:{}".format(*place),
            partition=sent[0],
            offset=sent[1],
            order_uid=letter["subject"],
        )
        return sent

    async def _send(self, letter: Any, message: Outgoing) -> Place:
        if letter["resolved_at"] is not None:
            raise Refused("not_replayable", 409, why=RESOLVED)
        if message.partition not in await self._sender.partitions():
            raise Refused("not_replayable", 409, why=NO_PARTITION)
        [outcome] = await self._sender.send([message])
        if outcome == MESSAGE_TOO_LARGE:
            raise Refused(MESSAGE_TOO_LARGE, 413)
        if isinstance(outcome, str):
            raise Refused(NOT_ACKNOWLEDGED, 503, headers=RETRY_LATER)
        return outcome

    async def _replay(self, selection: Selection) -> ReplayRun:
        partitions = await self._sender.partitions()
        now = await self.read(lambda connection: connection.fetchval("SELECT clock_timestamp()"))
        until = now if selection.until is None else min(selection.until, now)
        return ReplayRun(self._owner, attrs.evolve(selection, until=until), MAX_COUNTED, False, partitions)

    async def _plan(self, replay: ReplayRun) -> ReplayPlan:
        return await self.read(lambda connection: replay.plan(connection, MAX_COUNTED))


class _Run:
    """Sends the letters of one replay until the broker does not answer or the deadline has passed."""

    def __init__(self, sender: LetterSender, deadline_s: float) -> None:
        self.refusals: Counter[str] = Counter()
        self._sender = sender
        self._clock = asyncio.get_running_loop().time
        self._ends_at = self._clock() + deadline_s

    @property
    def ended(self) -> bool:
        return bool(self.refusals[NOT_ACKNOWLEDGED]) or self._clock() > self._ends_at

    async def send(self, messages: list[Outgoing]) -> list[bool]:
        outcomes = await self._sender.send(messages)
        self.refusals.update(outcome for outcome in outcomes if isinstance(outcome, str))
        return [not isinstance(outcome, str) for outcome in outcomes]
