"""The table that holds this build against another one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.base import Revision
from bench.comparison import NO_WORSE, Compared, Outcome
from bench.plan import Plan
from bench.table import aligned, number

_SHORT = 10
COLUMNS = ("figure", "base", "this", "this / base", "times as good", "95 % interval", "rounds", "this build is")
_RIGHT = frozenset({1, 2, 3, 4, 5, 6})
_LEGEND = f"""\
Times as good: this ÷ base where more is better, base ÷ this where less is: above 1, this build is the better one.
Each round measures both builds twice (base, this, this, base, then the other way about) and gives one ratio.
This build is worse where the whole interval lies below {NO_WORSE}, better where it lies above {1 / NO_WORSE:.2f}, and
as good where no part of it lies below {NO_WORSE}. Undecided: it is too wide to tell; more rounds make it narrower."""


def heading(base: Revision, commit: Mapping[str, Any], plan: Plan) -> str:
    """Return what is compared with what, and over how many rounds."""
    this = "not of a git repository"
    if commit:
        this = f"{commit['id'][:_SHORT]}{', with changes that are not committed' if commit['modified'] else ''}"
    rounds = f"rounds: {plan.rounds}; of memory and recovery: {plan.few_rounds}"
    if plan.quick:
        rounds += ". A QUICK RUN: it shows that everything works, and little else"
    return f"this: {this}\nbase: {base.title}\n{rounds}\n\n"


def render(compared: Sequence[Compared]) -> str:
    """Return the table, with what its columns mean below it, and what is worse last."""
    rows = [_row(one) for one in compared]
    lines = [*aligned([COLUMNS, *rows], _RIGHT), "", _LEGEND]
    worse = [one for one in compared if one.outcome is Outcome.WORSE]
    lines += [f"WORSE than base: {one.figure.title}: {_ratio(one)} times as good ({_interval(one)})" for one in worse]
    return "\n".join(lines)


def _row(one: Compared) -> tuple[str, ...]:
    unit = one.figure.unit
    own = (one.figure.title, f"{number(one.base)} {unit}", f"{number(one.this)} {unit}")
    if one.gain is None:
        return (*own, "", "", "", "", "")
    outcome = one.gain.outcome
    word = outcome.upper() if outcome is Outcome.WORSE else outcome.value
    return (*own, f"{one.this_over_base:.2f}", _ratio(one), _interval(one), str(len(one.gains)), word)


def _ratio(one: Compared) -> str:
    return f"{one.gain.ratio:.2f}" if one.gain else ""


def _interval(one: Compared) -> str:
    if one.gain is None or one.gain.low is None:
        return ""
    return f"{one.gain.low:.2f} to {one.gain.high:.2f}"
