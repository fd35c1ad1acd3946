"""Parses the order's uid in a request path."""

from urllib.parse import unquote_to_bytes

from handlers.model import MAX_KEY_BYTES

PREFIX = "/order/"


def parse_order_uid(raw_path: str) -> str | None:
    """Return the uid in `/order/{order_uid}`, percent-decoded once, or None for a uid that no order can have.

    Such a uid is empty, longer than `MAX_KEY_BYTES` bytes, has NUL, or is not UTF-8. An encoded slash is part of a uid.
    """
    encoded = raw_path.removeprefix(PREFIX)
    if encoded.isascii() and encoded.isprintable() and "%" not in encoded:
        return encoded if 0 < len(encoded) <= MAX_KEY_BYTES else None
    uid = unquote_to_bytes(encoded.encode("utf-8", "surrogateescape"))
    if not 0 < len(uid) <= MAX_KEY_BYTES or b"\x00" in uid:
        return None
    try:
        return uid.decode("utf-8")
    except UnicodeDecodeError:
        return None
