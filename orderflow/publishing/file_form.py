"""Recognises a file that is not JSON lines by its beginning, and says how to convert it.

A line that is no JSON does not change the form of a file: lines are sent as they are, because that is how dead letters
are tried out. Only what cannot be meant as lines is recognised: a document over several lines, an array, a byte-order
mark, another encoding, a compressed file, a table, markup, and nothing at all.
"""

import csv
from enum import Enum
from json import JSONDecodeError, JSONDecoder
from shlex import quote

import attrs

from handlers.fields import ITEM_ROW, ORDER_ROW
from orderflow.terminal import printable

LOOK_BYTES = 1 << 20
"""How much of a file is looked at."""
_LONGEST_MAGIC = 8
_UTF_8_MARK = b"\xef\xbb\xbf"
_BLANKS = " \t\r\n"
_KNOWN_NAMES = {column.field for column in (*ORDER_ROW, *ITEM_ROW)}
_SEND = "orderflow publish --file -"
_NEW_JQ = "or with jq 1.7 or newer (older ones round large numbers)"


class Look(Enum):
    """The beginning is that of JSON lines, or too short to tell."""

    LINES = "lines"
    MORE = "more"


@attrs.frozen
class Filter:
    """A shell command that converts standard input, or the file that is its last argument.

    `alternative` does the same with jq.
    """

    command: str
    alternative: str = ""


@attrs.frozen
class Form:
    """What a file is instead of JSON lines. `filters` convert it, one after the other, unless there is `advice`."""

    found: str
    filters: tuple[Filter, ...] = ()
    advice: str = ""


_ONE_ORDER_A_LINE = "Write it as one JSON order per line"
_DOCUMENT = Form(
    "is one JSON document over several lines, not one order per line",
    (Filter("python3 -m json.tool --no-ensure-ascii --no-indent", "jq -c ."),),
)
_ARRAY = Form(
    "is a JSON array, not one order per line",
    (
        Filter(
            "python3 -c 'import json, sys; [print(json.dumps(order)) for order in json.load(sys.stdin)]'",
            "jq -c '.[]'",
        ),
    ),
)
_COMMAS = Form("has a comma behind each order", (Filter("sed 's/,[[:space:]]*$//'"),))
_EMPTY = Form("is empty", advice="Check its name, or the program that writes it")
_TABLE = Form("is CSV, not JSON", advice=f"{_ONE_ORDER_A_LINE}: a row has no place for an order's items")
_MARKUP = Form("is XML or HTML, not JSON", advice=f"{_ONE_ORDER_A_LINE}, and check that it is no error page")
_MAGIC = {
    b"\x1f\x8b": Form("is compressed with gzip", (Filter("gzip -dc"),)),
    b"\x28\xb5\x2f\xfd": Form("is compressed with zstd", (Filter("zstd -dc"),)),
    b"\xfd7zXZ\x00": Form("is compressed with xz", (Filter("xz -dc"),)),
    b"BZh": Form("is compressed with bzip2", (Filter("bzip2 -dc"),)),
    b"PK\x03\x04": Form("is a zip archive or a spreadsheet", advice="Unpack or export it, and publish what is in it"),
    b"PAR1": Form("is a Parquet file", advice=_ONE_ORDER_A_LINE),
    b"Obj\x01": Form("is an Avro file", advice=_ONE_ORDER_A_LINE),
}
_decode = JSONDecoder(parse_int=str).raw_decode  # Python does not parse integers of any length


def recognise(head: bytes, *, whole: bool) -> Form | Look:
    """Return what the file is that begins with `head`: `whole` if that is all of it."""
    cut = not whole and len(head) >= LOOK_BYTES
    if cut:
        head = head[:LOOK_BYTES]
    if len(head) < _LONGEST_MAGIC and b"\n" not in head and not (whole or cut):
        return Look.MORE
    for magic, form in _MAGIC.items():
        if head.startswith(magic):
            return form
    if head.startswith(_UTF_8_MARK):
        mark = Form("begins with a byte-order mark", (Filter("tail -c +4"),))
        return _inside(mark, head.removeprefix(_UTF_8_MARK).decode(errors="replace"), whole=whole, cut=cut)
    if encoding := _wide_encoding(head):
        wide = Form(f"is {encoding}, not UTF-8", (Filter(f"iconv -f {encoding} -t UTF-8"),))
        return _inside(wide, head.decode(encoding, errors="replace"), whole=whole, cut=cut)
    return _form_of_text(head.decode(errors="replace"), whole=whole, cut=cut)


def describe_form(form: Form, file: str | None, send: str = _SEND) -> str:
    """Return one line that says what is wrong with the file (None: standard input), and how to convert it.

    `send` is the command for what was converted.
    """
    problem = f"{'standard input' if file is None else printable(file)} {form.found}. Nothing was sent"
    if form.advice:
        return f"{problem}. {form.advice}"
    commands = [one.command for one in form.filters]
    advice = f"Run `{_pipe(commands, file, send)}`"
    if any(one.alternative for one in form.filters):
        advice += f", {_NEW_JQ} `{_pipe([one.alternative or one.command for one in form.filters], file, send)}`"
    return f"{problem}. {advice}"


def _pipe(commands: list[str], file: str | None, send: str) -> str:
    first, *others = commands
    if file is None:
        first = f"… | {first}"
    else:
        first = f"{first} {'< ' if first.startswith('python3') else ''}{printable(quote(file))}"
    return " | ".join((first, *others, send))


def _wide_encoding(head: bytes) -> str | None:
    """Return the name of UTF-16 or UTF-32, by the mark or else by the zero bytes of its first characters."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16")):
        if head.startswith(mark):
            return name
    if head.startswith(b"\xfe\xff"):
        return "UTF-16"
    zeros = [byte == 0 for byte in head[:4]]
    if zeros == [False, True, False, True]:
        return "UTF-16LE"
    return "UTF-16BE" if zeros == [True, False, True, False] else None


def _inside(outer: Form, text: str, *, whole: bool, cut: bool) -> Form | Look:
    """Return the form of text in a wrapping: the wrapping's, and the text's own."""
    match _form_of_text(text.removeprefix("\ufeff"), whole=whole, cut=cut):
        case Look.MORE:
            return Look.MORE
        case Look.LINES:
            return outer
        case Form() as inner if inner is not _EMPTY:
            return Form(f"{outer.found}, and {inner.found}", (*outer.filters, *inner.filters), inner.advice)
    return _EMPTY


def _form_of_text(text: str, *, whole: bool, cut: bool) -> Form | Look:
    """Return the form of text that is the whole file, or its longest beginning that is looked at (`cut`), or less."""
    text = text.lstrip(_BLANKS)
    first, line_end, rest = text.partition("\n")
    rest = rest.lstrip(_BLANKS)
    if not (line_end or whole or cut):
        return Look.MORE
    if not text:
        return _EMPTY if whole else Look.MORE
    if text[0] == "[" and not (line_end or whole):
        return _ARRAY
    if text[0] in "{[":
        return _form_of_json(text, first, rest, whole=whole or cut)
    return _form_of_other_text(first, rest, whole=whole or cut)


def _form_of_json(text: str, first: str, rest: str, *, whole: bool) -> Form | Look:
    """Return the form of text that begins with an object or an array. `rest` begins at its second line with text."""
    form = _ARRAY if text[0] == "[" else _DOCUMENT
    second_at = len(text) - len(rest)
    try:
        _, end = _decode(text)
    except RecursionError:
        return Look.LINES
    except JSONDecodeError as error:
        second, second_end, _ = rest.partition("\n")
        if error.pos > len(first) and not (second_end or whole):
            return Look.MORE
        # The document goes on in the second line if something of that was understood, and it is no order by itself.
        goes_on = error.pos > second_at and not (form is _DOCUMENT and _is_object(second))
        return form if goes_on else Look.LINES
    if end > len(first):
        return form
    return _form_by_second_line(form, text[end : len(first)].strip(_BLANKS), rest, whole=whole)


def _form_by_second_line(form: Form, behind: str, rest: str, *, whole: bool) -> Form | Look:
    """Return the form of text whose first line is a document, with something `behind` it or nothing."""
    second, second_end, _ = rest.partition("\n")
    if form is _DOCUMENT and behind == ",":
        if not (second_end or whole):
            return Look.MORE
        return _COMMAS if second.startswith("{") and second.rstrip(_BLANKS).endswith("},") else Look.LINES
    if form is _DOCUMENT or behind or rest.startswith("{"):
        return Look.LINES
    return form if rest or whole else Look.MORE


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and not line[_decode(line)[1] :].strip(_BLANKS)
    except (ValueError, RecursionError):
        return False


def _form_of_other_text(first: str, rest: str, *, whole: bool) -> Form | Look:
    second, second_end, _ = rest.partition("\n")
    if rest.startswith("{"):
        return Look.LINES
    if not (second_end or whole):
        return Look.MORE
    if first.startswith("<"):
        return _MARKUP
    delimiter = max(",;\t|", key=first.count)
    cells, below = (_cells(line, delimiter) for line in (first, second))
    known = {cell.strip().rpartition(".")[2] for cell in cells} & _KNOWN_NAMES
    alike = len(cells) > 1 and len(cells) == len(below)
    return _TABLE if len(known) > 1 or alike else Look.LINES


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip()], delimiter=delimiter), [])
    except csv.Error:
        return []
