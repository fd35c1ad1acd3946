"""Invalid messages, each with one error, and the valid order from which they are made."""

import copy
import json
from typing import Any

Document = dict[str, Any]

ITEM: Document = {
    "chrt_id": 9934930,
    "track_number": "WBILMTESTTRACK",
    "price": 453,
    "rid": "ab4219087a764ae0btest",
    "name": "Mascaras",
    "sale": 30,
    "size": "0",
    "total_price": 317,
    "nm_id": 2389212,
    "brand": "Vivienne Sabo",
    "status": 202,
}
ORDER: Document = {
    "order_uid": "b563feb7b2b84b6test",
    "track_number": "WBILMTESTTRACK",
    "entry": "WBIL",
    "delivery": {
        "name": "Test Testov",
        "phone": "+9720000000",
        "zip": "2639809",
        "city": "Kiryat Mozkin",
        "address": "Ploshad Mira 15",
        "region": "Kraiot",
        "email": "test@gmail.com",
    },
    "payment": {
        "transaction": "b563feb7b2b84b6test",
        "request_id": "req",
        "currency": "USD",
        "provider": "wbpay",
        "amount": 1824,
        "payment_dt": 1637907727,
        "bank": "alpha",
        "delivery_cost": 1500,
        "goods_total": 317,
        "custom_fee": 7,
    },
    "items": [ITEM],
    "locale": "en",
    "internal_signature": "sig",
    "customer_id": "test",
    "delivery_service": "meest",
    "shardkey": "9",
    "sm_id": 99,
    "date_created": "2021-11-26T06:22:19Z",
    "oof_shard": "1",
}


class ABSENT:
    """A marker for a field that is left out."""


def keys_of(path: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in path.replace("[", ".").replace("]", "").split(".")]


def put(document: Document, path: str, value: Any) -> None:
    """Set the value at a path such as `items[0].price`. `ABSENT` removes the field."""
    *way, last = keys_of(path)
    holder: Any = document
    for key in way:
        holder = holder[key]
    if value is ABSENT:
        del holder[last]
    else:
        holder[last] = value


def encode(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def order_with(*changes: tuple[str, Any]) -> bytes:
    document = copy.deepcopy(ORDER)
    for path, value in changes:
        put(document, path, value)
    return encode(document)


WHOLE = order_with()
CITY = b'"Kiryat Mozkin"'


def with_city(raw: bytes) -> bytes:
    assert WHOLE.count(CITY) == 1
    return WHOLE.replace(CITY, raw)


def with_unknown(raw: bytes) -> bytes:
    return WHOLE[:-1] + b', "surprise": ' + raw + b"}"


NOT_JSON = {
    "text": b"hello",
    "a blank": b" ",
    "a NUL alone": b"\x00",
    "truncated": WHOLE[:-1],
    "truncated in a string": WHOLE[: len(WHOLE) // 2],
    "one byte": b"{",
    "something behind": WHOLE + b"x",
    "a NUL behind": WHOLE + b"\x00",
    "two orders": WHOLE + WHOLE,
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "Latin-1": with_city(b'"Z\xfcrich"'),
    "a raw NUL in text": with_city(b'"a\x00b"'),
    "a raw line feed in text": with_city(b'"a\nb"'),
    "a surrogate in UTF-8": with_city(b'"\xed\xa0\x80"'),
    "an overlong NUL": with_city(b'"\xc0\x80"'),
    "a bad escape": with_city(b'"\\x41"'),
    "NaN": WHOLE.replace(b'"sm_id": 99', b'"sm_id": NaN'),
    "Infinity": WHOLE.replace(b'"sm_id": 99', b'"sm_id": Infinity'),
    "a leading zero": WHOLE.replace(b'"sm_id": 99', b'"sm_id": 099'),
    "a hexadecimal number": WHOLE.replace(b'"sm_id": 99', b'"sm_id": 0x63'),
    "single quotes": WHOLE.replace(b'"', b"'"),
    "a trailing comma": WHOLE[:-1] + b",}",
    "a comment": WHOLE[:-1] + b"/* */}",
    "depth 100,000": b"[" * 100_000,
    "depth 100,000, closed": b"[" * 100_000 + b"]" * 100_000,
    "depth 100,000 of objects": b'{"a":' * 100_000,
    "depth 100,000 in an unknown field": with_unknown(b"[" * 100_000 + b"]" * 100_000),
    "depth 100,000 in a known field": with_city(b"[" * 100_000 + b"]" * 100_000),
    "NaN in an unknown field": with_unknown(b"NaN"),
}
NOT_AN_OBJECT = {
    "an array of orders": b"[" + WHOLE + b"]",
    "an empty array": b"[]",
    "a string": b'"order"',
    "an order within a string": encode(WHOLE.decode()),
    "a number": b"1",
    "a huge number": b"9" * 1000,
    "null": b"null",
    "true": b"true",
}
