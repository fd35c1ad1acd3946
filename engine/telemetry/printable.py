"""Text from messages, on its way to a terminal."""


def printable(text: str) -> str:
    """Return text from a message with control characters escaped, so that it cannot move the terminal's cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
