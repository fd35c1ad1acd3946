"""Text for a terminal."""


def printable(text: str) -> str:
    """Return text that cannot move a terminal's cursor: it came in a message."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
