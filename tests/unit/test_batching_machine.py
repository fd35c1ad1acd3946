"""Whatever senders, handlers and stops do and when, a batch actor keeps its promises. Time is virtual."""

import asyncio

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.actors.actor import BatchActor
from engine.actors.mailbox import MailboxClosed
from tests.support.state_machines import short_and_long
from tests.support.virtual_time import VirtualLoop

SECONDS = st.integers(0, 6)
WEIGHTS = st.integers(0, 6) | st.just(50)
ITEMS = st.integers(1, 4) | st.just(20)


@attrs.frozen
class Message:
    """A message as its sender describes it; a poisonous one makes its handler fail."""

    number: int
    weight: int
    items: int
    poison: bool = False


@attrs.define(eq=False)
class Sender:
    """Somebody in `put`."""

    message: Message
    task: "asyncio.Task[None]"


class ActorMachine(RuleBasedStateMachine):
    """Senders, a handler that takes its time or fails, and a stop, in any order; each rule runs until all wait."""

    @initialize(
        max_items=st.integers(1, 5),
        max_weight=st.none() | st.integers(1, 10),
        capacity_items=st.integers(1, 6),
        capacity_weight=st.none() | st.integers(1, 12),
        work_s=SECONDS,
    )
    def begin(
        self, max_items: int, max_weight: int | None, capacity_items: int, capacity_weight: int | None, work_s: int
    ) -> None:
        self.loop = VirtualLoop()
        self.max_items, self.max_weight = max_items, max_weight
        self.capacity_items, self.capacity_weight = capacity_items, capacity_weight
        self.actor: BatchActor[Message] = BatchActor(
            "tested",
            self.handle,
            max_items=max_items,
            max_weight=max_weight,
            capacity_items=capacity_items,
            capacity_weight=capacity_weight,
        )
        self.accepted: list[Message] = []
        self.begun: list[Message] = []
        self.finished: list[Message] = []
        self.senders: list[Sender] = []
        self.work_s, self.numbers = work_s, 0
        self.handling = self.failed = self.stopped = False

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    async def handle(self, batch: list[Message]) -> None:
        assert not self.handling, "batches never overlap"
        assert batch, "a batch is never empty"
        if len(batch) > 1:
            assert sum(message.items for message in batch) <= self.max_items
            assert self.max_weight is None or sum(message.weight for message in batch) <= self.max_weight
        self.begun += batch
        self.handling = True
        try:
            await asyncio.sleep(self.work_s)
            if any(message.poison for message in batch):
                self.failed = True
                raise LookupError
        finally:
            self.handling = False
        self.finished += batch

    def message(self, weight: int, items: int, poison: bool) -> Message:
        self.numbers += 1
        return Message(self.numbers, weight, items, poison)

    def waiting_messages(self) -> list[Message]:
        return self.accepted[len(self.begun) :]

    def fits(self, message: Message) -> bool:
        held = self.waiting_messages()
        items = sum(one.items for one in held) + message.items
        weight = sum(one.weight for one in held) + message.weight
        light = self.capacity_weight is None or weight <= self.capacity_weight
        return not held or (items <= self.capacity_items and light)

    @rule()
    def start(self) -> None:
        self.loop.run(self._start())
        self.loop.pass_time()

    async def _start(self) -> None:
        self.actor.start()

    @rule(weight=WEIGHTS, items=ITEMS, poison=st.sampled_from([False] * 9 + [True]))
    def put(self, weight: int, items: int, poison: bool) -> None:
        message = self.message(weight, items, poison)
        self.senders.append(Sender(message, self.loop.create_task(self._put(message))))
        self.loop.pass_time()

    async def _put(self, message: Message) -> None:
        await self.actor.put(message, message.weight, message.items)
        self.accepted.append(message)

    @rule(weight=WEIGHTS, items=ITEMS)
    def put_without_waiting(self, weight: int, items: int) -> None:
        message = self.message(weight, items, poison=False)
        expected = self.fits(message) and not self.senders
        try:
            taken = self.actor.put_nowait(message, weight, items)
        except MailboxClosed:
            assert self.actor.mailbox.closed
            return
        assert taken == expected, "there is room for it, and nobody came before it"
        if taken:
            self.accepted.append(message)
        self.loop.pass_time()

    @precondition(lambda self: self.senders)
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from(self.senders))
        sender.task.cancel()
        self.loop.pass_time()
        assert sender.task.cancelled()
        assert sender.message not in self.accepted

    @rule(seconds=SECONDS)
    def work_takes(self, seconds: int) -> None:
        self.work_s = seconds

    @rule(seconds=SECONDS)
    def wait(self, seconds: int) -> None:
        self.loop.pass_time(seconds)

    @precondition(lambda self: self.numbers >= 8)
    @rule(deadline_s=st.integers(-1, 20))
    def stop(self, deadline_s: int) -> None:
        began_s = self.loop.time()
        clean = self.loop.run(self.actor.stop(deadline_s))
        self.loop.pass_time()
        assert self.loop.time() - began_s <= max(0, deadline_s)
        if not self.stopped:
            assert clean == (self.finished == self.accepted), "a stop says truthfully whether all was handled"
        self.stopped = True

    @invariant()
    def senders_are_served_in_turn(self) -> None:
        """Those who wait are the last to have come; the first of them does not fit, unless the mailbox is closed."""
        done = [sender for sender in self.senders if sender.task.done()]
        self.senders = [sender for sender in self.senders if not sender.task.done()]
        for sender in done:
            if not sender.task.cancelled() and sender.task.exception() is not None:
                assert isinstance(sender.task.exception(), MailboxClosed)
                assert self.actor.mailbox.closed
                assert sender.message not in self.accepted
        if self.senders:
            assert not self.actor.mailbox.closed, "nobody waits for room that will never come"
            assert not self.fits(self.senders[0].message), "nobody waits while there is room"
            served = max((sender.message.number for sender in done if sender.message in self.accepted), default=0)
            assert served < self.senders[0].message.number, "nobody overtakes one who waits"

    @invariant()
    def nothing_is_lost_repeated_or_out_of_order(self) -> None:
        assert self.begun == self.accepted[: len(self.begun)]
        assert self.finished == self.begun[: len(self.finished)]

    @invariant()
    def what_waits_is_within_the_capacity_or_alone(self) -> None:
        held = self.waiting_messages()
        mailbox = self.actor.mailbox
        if not self.stopped:
            assert (len(mailbox), mailbox.weight) == (sum(m.items for m in held), sum(m.weight for m in held))
        assert len(held) <= 1 or len(mailbox) <= self.capacity_items
        assert len(held) <= 1 or self.capacity_weight is None or mailbox.weight <= self.capacity_weight


TestBatchActor, TestBatchActorThoroughly = short_and_long(ActorMachine, 300, 40)
