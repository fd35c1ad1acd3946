"""Messages that name settings, with the settings' current values.

Messages are written where a problem is found, also in layers that know no settings. So the values are added at one
place, where a message leaves the program: no message can forget them, and none can show a secret.
"""

import re
from typing import Any

import attrs

from orderflow.start.settings import SettingError, Settings, load_settings, variables
from orderflow.terminal import printable

_LONGEST = 200
_FIELDS = {field.metadata["variable"]: field for field in attrs.fields(Settings)}
# What follows tells the value already (`NAME (5)`, `NAME is 'a'`), or is the value to set (`NAME=5`).
_NAME = re.compile(rf"(?<![\w.])({'|'.join(sorted(_FIELDS, key=len, reverse=True))})(?!\w|=| \(| is ')")


def value_of(settings: Settings, variable: str) -> str | None:
    """Return the current value as text for a message; None if it is secret, `not set` if it is empty."""
    field = _FIELDS[variable]
    if not field.repr:
        return None
    text = printable(_text(getattr(settings, field.name)))
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text or "not set"


def with_values(message: str, settings: Settings | None = None) -> str:
    """Return the message with the value behind the first mention of each setting, unless the value is secret.

    Without `settings` they are read, but only if the message names one.
    """
    if not _NAME.search(message):
        return message
    try:
        settings = settings or load_settings()
    except SettingError:
        return message
    told = {name for name in variables() if re.search(rf"\b{name}( \(| is ')", message)}

    def added(match: re.Match[str]) -> str:
        name, inside = match[1], message[match.start() - 1 : match.end() + 1]
        value = None if name in told or inside == f"({name})" else value_of(settings, name)
        told.add(name)
        return name if value is None else f"{name} ({value})"

    return _NAME.sub(added, message)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(map(str, value))
    return str(value)
