"""How the benchmark runs another program that answers lookups, and what it takes for an answer."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

import bench.lookup_peer
from bench.load import WrongAnswers
from bench.load_client import is_complete
from bench.lookup_peer import difference, lookup_peer
from bench.programs import ProgramFailed
from orderflow.services import free_ports
from tests.support.isolation import unique
from tests.support.programs import marked

ORDER: dict[str, Any] = {
    "order_uid": "o1",
    "items": [{"rid": "a", "price": 1}, {"rid": "b", "price": 2}],
    "date_created": "2026-11-01T10:00:00Z",
}
BODY = json.encode({**ORDER, "created_at": "2026-11-01T10:00:01Z"})
PEER = """\
import http.server, os, sys, threading
address, behaviour, answer = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if behaviour == "dies" and self.path == "/order/o1":
            print("out of memory", flush=True)
            os._exit(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open(answer, "rb").read())
    def log_message(self, *arguments):
        pass
if behaviour == "silent":
    threading.Event().wait()
host, port = address.split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"items": ORDER["items"][::-1], "more": 1, "date_created": "2026-11-01T10:00:00+00:00"}, ""),
        ({"items": [{"rid": "a", "price": 1}, {"rid": "b", "price": 3}]}, "different items"),
        ({"order_uid": "o2", "date_created": "yesterday"}, "different order_uid, date_created"),
    ],
)
def test_another_programs_answer_is_the_same_order_or_not(changed: Mapping[str, Any], said: str) -> None:
    """The order of items, more fields and the spelling of times do not count; only names of fields are told."""
    assert difference(json.encode({**ORDER, **changed}), BODY) == said


def test_what_is_no_order_is_said_to_be_none() -> None:
    """Whatever a program answers."""
    assert difference(b"oops", BODY) == "not JSON"
    assert difference(b"[]", BODY) == "not an object"


def test_an_answer_is_complete_with_its_length_or_its_last_chunk() -> None:
    """A server may send a long answer in chunks."""
    for answer in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ):
        assert is_complete(answer)
        assert not any(is_complete(answer[:size]) for size in range(len(answer)))


async def run(folder: Path, answer: Mapping[str, Any], behaviour: str = "answers") -> None:
    """Run a program that answers every request with `answer`, and check that nothing of it is left."""
    program, body = folder / "peer.py", folder / "answer.json"
    program.write_text(PEER)
    body.write_bytes(json.encode(answer))
    testbed: Any = type("Testbed", (), {"folder": folder, "mark": unique("bench_lookup_peer")})
    command = f"{sys.executable} {program} {{addr}} {behaviour} {body}"
    (port,) = free_ports(1)
    try:
        async with lookup_peer(testbed, command, {}, port, {"o1": BODY}) as peer:
            peer.check()
    finally:
        assert marked(testbed.mark) == []


async def test_another_program_is_ready_when_it_answers_and_is_ended_afterwards(tmp_path: Path) -> None:
    """Its answers are compared with the orders before anything is measured."""
    await run(tmp_path, ORDER)


async def test_another_program_that_answers_something_else_is_named(tmp_path: Path) -> None:
    """With the fields that differ."""
    with pytest.raises(WrongAnswers, match="the answer to GET /order/o1 is not the order: different items"):
        await run(tmp_path, {**ORDER, "items": []})


async def test_another_program_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Not with the request that it left unanswered."""
    with pytest.raises(ProgramFailed, match="lookup peer ended with exit code 1; its last lines:\n    out of memory"):
        await run(tmp_path, ORDER, "dies")


async def test_another_program_that_does_not_answer_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended then."""
    monkeypatch.setattr(bench.lookup_peer, "_START_TIMEOUT_S", 0.5)
    with pytest.raises(ProgramFailed, match="lookup peer did not answer"):
        await run(tmp_path, ORDER, "silent")
