"""The table that compares this build with another one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.base import Revision
from bench.comparison import NO_WORSE, Compared, Outcome
from bench.plan import Plan
from bench.table import aligned, number

_SHORT = 10
COLUMNS = (
    *("figure", "base", "this", "this / base", "target", ""),
    *("times as good", "95 % interval", "rounds", "this build is"),
)
_RIGHT = frozenset({1, 2, 3, 6, 7, 8})
_LEGEND = f"""\
Target: for this / base. A missed target is reported, and is a failure only with --strict.
Times as good: this ÷ base if more is better, base ÷ this if less is better. Above 1, this build is better.
Each round measures both builds twice (base, this, this, base; the next round in reverse order) and gives one ratio.
This build is worse if the whole interval is below {NO_WORSE}, better if it is above {1 / NO_WORSE:.2f}, and as good
if no part of it is below {NO_WORSE}. Undecided: the interval is too wide; more rounds make it narrower."""


def heading(base: Revision, commit: Mapping[str, Any], plan: Plan) -> str:
    """Return the heading: the two builds, and the number of rounds."""
    this = "not of a git repository"
    if commit:
        this = f"{commit['id'][:_SHORT]}{', with changes that are not committed' if commit['modified'] else ''}"
    rounds = f"rounds: {plan.rounds}; of memory and recovery: {plan.few_rounds}"
    if plan.quick:
        rounds += ". A QUICK RUN: it only shows that everything works"
    return f"this: {this}\nbase: {base.title}\n{rounds}\n\n"


def render(compared: Sequence[Compared]) -> str:
    """Return the table, an explanation of its columns, and a list of the worse figures."""
    rows = [_row(one) for one in compared]
    lines = [*aligned([COLUMNS, *rows], _RIGHT), "", _LEGEND]
    worse = [one for one in compared if one.outcome is Outcome.WORSE]
    lines += [f"WORSE than base: {one.figure.title}: {_ratio(one)} times as good ({_interval(one)})" for one in worse]
    return "\n".join(lines)


def _row(one: Compared) -> tuple[str, ...]:
    unit = one.figure.unit
    own = (one.figure.title, f"{number(one.base)} {unit}", f"{number(one.this)} {unit}")
    if one.gain is None:
        return (*own, "", one.target, *[""] * (len(COLUMNS) - len(own) - 2))
    outcome = one.gain.outcome
    word = outcome.upper() if outcome is Outcome.WORSE else outcome.value
    met = {None: "", True: "met", False: "MISSED"}[one.met]
    ratio = (f"{one.this_over_base:.2f}", one.target, met)
    return (*own, *ratio, _ratio(one), _interval(one), str(len(one.gains)), word)


def _ratio(one: Compared) -> str:
    return f"{one.gain.ratio:.2f}" if one.gain else ""


def _interval(one: Compared) -> str:
    if one.gain is None or one.gain.low is None:
        return ""
    return f"{one.gain.low:.2f} to {one.gain.high:.2f}"
