"""A dead letter as text for people."""

from datetime import datetime
from typing import Any

from orderflow.terminal import printable


def letter_lines(description: dict[str, Any]) -> list[str]:
    """Return the lines of a letter that `describe_letter` has described. What is not known is left out."""
    lines = []
    for name, value in description.items():
        if name == "shape":  # as long as the message: for programs
            continue
        match value:
            case [*entries]:
                lines += [f"{name}: {len(entries)}", *(f"  {_entry(entry)}" for entry in entries)]
            case None if name == "produced_at":
                lines.append(f"{name}: unknown")
            case None | "":
                continue
            case datetime():
                lines.append(f"{name}: {value:%F %T.%f} UTC")
            case _:
                lines.append(f"{name}: {printable(str(value))}")
    return lines


def _entry(entry: dict[str, Any]) -> str:
    """Return an error or a header as one line: its first value is its name."""
    name, *rest = entry.values()
    return printable(": ".join([name or "(the message)", *map(str, rest)]))
