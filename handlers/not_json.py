"""Says why bytes are not JSON, and where. It never repeats what they hold.

The byte in an error is counted from 0, from the beginning of the message.
"""

import re
from json import JSONDecodeError

from handlers.byte_formats import BASE64_OBJECT, recognise
from handlers.json_document import NotANumber, parse_document

TOO_DEEP = "must not be nested deeper than 1,000 levels"
_BLANKS = " \t\r\n"
_BEGINS = re.compile(rb'[ \t\r\n]*[{\["\d+-]|[ \t\r\n]*(?:true|false|null|NaN|Infinity|None|True|False)')
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
_CUT_HERE = re.compile(
    r"|t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-|-?I(?:n(?:f(?:i(?:n(?:it?)?)?)?)?)?|\.|(?:\.\d+)?[eE][+-]?"
    r"|\\?u[0-9a-fA-F]{0,4}"
)
"""What may be left at the end of a document that is cut off inside a literal, a number or an escape."""
_STRING_OR_CONSTANT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(-?Infinity|NaN)')
_PROBLEMS = {
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Expecting value": "a value is missing",
    "Invalid control character at": "a line break or another control character in a text is not escaped",
    "Invalid \\uXXXX escape": "an unknown escape stands",
    "Invalid \\escape": "an unknown escape stands",
}
"""Our words for the errors of Python's decoder, by how they begin."""


def why_not_json(value: bytes, start: int = 0) -> str:
    """Return why these bytes are not JSON. They must be refused by `parse_document`, or not be UTF-8.

    `start` is where they begin in the message. Takes time in proportion to their number.
    """
    if known := recognise(value):
        return known.problem
    if not _BEGINS.match(value) and _CONTROL.search(value[:64]):
        return "must be JSON, not a binary format such as Protobuf or Avro"
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        if error.end == len(value) and "unexpected end" in error.reason:
            return _cut(value, start)
        return f"must be JSON in UTF-8: byte {start + error.start} is not UTF-8"
    return _why_no_document(value, text, start)


def _why_no_document(value: bytes, text: str, start: int) -> str:
    try:
        parse_document(text)
    except RecursionError:
        return TOO_DEEP
    except NotANumber:
        return f"must be JSON, which has no NaN and no Infinity: byte {start + _constant(text)}"
    except JSONDecodeError as error:
        return _syntax(value, text, error, start)
    return "must be JSON in UTF-8"


def looks_like(value: bytes) -> str:
    """Return a few words for bytes that are not JSON, with the well-known bytes that they begin with."""
    if known := recognise(value):
        return f"{known.name}; begins with {known.magic.hex(' ')}" if known.magic else known.name
    if _BEGINS.match(value):
        return "JSON with an error"
    return "a binary format" if _CONTROL.search(value[:64]) else "text"


def _constant(text: str) -> int:
    """Return the byte of the first NaN or Infinity. All before it is JSON."""
    found = next(match.start() for match in _STRING_OR_CONSTANT.finditer(text) if match[1])
    return len(text[:found].encode())


def _cut(value: bytes, start: int) -> str:
    return f"must be a whole JSON document: it is cut off at byte {start + len(value)}"


def _syntax(value: bytes, text: str, error: JSONDecodeError, start: int) -> str:
    """Return the text for an error of Python's decoder."""
    rest = text[error.pos :]
    byte = start + len(text[: error.pos].encode())
    if not text.strip(_BLANKS):
        return "must hold a JSON object, not only white space"
    if error.msg.startswith("Unterminated string"):
        return f"{_cut(value, start)}, in a text that begins at byte {byte}"
    if error.msg == "Extra data":
        return _trailing(text, rest, byte)
    if error.pos and _CUT_HERE.fullmatch(rest.rstrip(_BLANKS)):
        return _cut(value, start)
    if not text[: error.pos].strip(_BLANKS):
        return _no_beginning(rest)
    return f"must be JSON: {_detail(text, rest, error)} at byte {byte}"


def _trailing(text: str, rest: str, byte: int) -> str:
    if not rest.strip("\x00" + _BLANKS):
        return f"must be a JSON document alone: NUL bytes follow it at byte {byte}"
    if rest[0] in "{[":
        return f"must be one JSON document, one order a message: another begins at byte {byte}"
    if text.lstrip(_BLANKS)[0] not in '{["':
        return "must be JSON: it begins with neither { nor ["
    return f"must be a JSON document alone: something follows it at byte {byte}"


def _no_beginning(rest: str) -> str:
    if rest.startswith("<"):
        return "must be JSON, not XML or HTML"
    if BASE64_OBJECT.match(rest):
        return "must be JSON, not JSON in base64"
    return "must be JSON: it begins with neither { nor ["


def _detail(text: str, rest: str, error: JSONDecodeError) -> str:
    """Return the words for a mistake in the middle: first those that have a name among programmers."""
    if rest[0] == "'":
        return "an apostrophe stands where a double quote belongs"
    if rest[0] in "}]" and text[: error.pos].rstrip(_BLANKS).endswith(","):
        return "a comma stands before a closing bracket"
    if rest.startswith(("//", "/*", "#")):
        return "a comment stands"
    if rest.startswith(("None", "True", "False")):
        return "None, True or False stands where null, true or false belongs"
    if rest[0].isdigit() and text[error.pos - 1] == "0":
        return "a number has a leading zero"
    found = (words for beginning, words in _PROBLEMS.items() if error.msg.startswith(beginning))
    return next(found, "a mistake stands")
