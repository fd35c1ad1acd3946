"""Tables for people."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table. Columns are aligned to the right, as numbers are, but for those named in `text`."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (head, *rows):
        cells = [
            f"{cell:{width}}" if name in text else f"{cell:>{width}}"
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
