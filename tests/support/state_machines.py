"""Test cases of Hypothesis's state machines: a short one for each run of all tests, and a long one for `make chaos`."""

from typing import Any

import hypothesis
import pytest
from hypothesis.stateful import RuleBasedStateMachine

_SHORT = 3


def short_and_long(machine: type[RuleBasedStateMachine], examples: int, steps: int, **more: Any) -> tuple[type, type]:
    """Return two test cases: one with a third of the examples, and one with all of them, which is marked `long`."""

    def case(max_examples: int) -> type:
        settings = hypothesis.settings(max_examples=max_examples, stateful_step_count=steps, deadline=None, **more)
        return type(machine.__name__, (machine.TestCase,), {"settings": settings})

    return case(examples // _SHORT), pytest.mark.long(case(examples))
