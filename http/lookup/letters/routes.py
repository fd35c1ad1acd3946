"""The routes of dead letters: masked lists and letters for every caller; replays with the admin token only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import structlog
from aiohttp import web
from msgspec import Meta, Struct

from engine.dead_letters.list import describe_letter, parse_place, summarise
from engine.dead_letters.store import Owner
from engine.records import Place
from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.model import SUBJECT_NAME
from handlers.moments import MOMENT_RULE
from handlers.value_formats import FRAME_BYTES, corrected, is_framed
from lookup.letters.letters import MAX_COUNTED, DeadLetters
from lookup.letters.masking import masked_view
from lookup.letters.query import (
    REASON_RULE,
    parse_letter_filters,
    parse_letter_search,
    read_letter_filters,
    render_letter_cursor,
)
from lookup.letters.sender import RETRY_LATER, LetterSender
from lookup.serving import events
from lookup.serving.admin import ADMIN
from lookup.serving.answers import json_answer
from lookup.serving.bodies import read_body
from lookup.serving.options import Connections, LookupOptions
from lookup.serving.pools import open_pool
from lookup.serving.query_parameters import KEY_RULE, Parameters, WrongParameter, parse_parameters
from lookup.serving.refusal import Refused

LETTERS = web.AppKey("letters", DeadLetters)
OPTIONS = web.AppKey("letter_options", LookupOptions)
_EXPECTED_RULE = "the `total` of a dry run, a whole number"
_DRY_RUN_RULE = "true or false"
_PAYLOAD_RULE = "the whole message, as text"
_REVEAL: Parameters = {"reveal": (lambda text: text == "1" or None, "1")}

log = structlog.get_logger()


class ReplayOrder(Struct, forbid_unknown_fields=True):
    """The body of a replay of several letters: filters as in the list, and the number of letters that is expected."""

    reason: Annotated[str | None, Meta(description=REASON_RULE)] = None
    order_uid: Annotated[str | None, Meta(description=KEY_RULE)] = None
    since: Annotated[str | None, Meta(description=MOMENT_RULE)] = None
    until: Annotated[str | None, Meta(description=MOMENT_RULE)] = None
    expected: Annotated[int | None, Meta(description=_EXPECTED_RULE)] = None
    dry_run: Annotated[bool, Meta(description=_DRY_RUN_RULE)] = False


class ReplayOne(Struct, forbid_unknown_fields=True):
    """The body of a replay of one letter: an empty object, or no body."""


class CorrectedMessage(Struct, forbid_unknown_fields=True):
    """The body that corrects a letter: the whole new message as text. With `dry_run` it is only checked."""

    payload: Annotated[str, Meta(description=_PAYLOAD_RULE)]
    dry_run: Annotated[bool, Meta(description=_DRY_RUN_RULE)] = False


async def get_list(request: web.Request) -> web.Response:
    """Answer `GET /dead-letters/list`: one page, latest failure first, without the messages' content."""
    page = await request.app[LETTERS].page(parse_letter_search(request.rel_url.raw_query_string))
    next_cursor = None if page.next is None else render_letter_cursor(page.next)
    return json_answer({"letters": [summarise(letter, SUBJECT_NAME) for letter in page.letters], "next": next_cursor})


async def get_counts(request: web.Request) -> web.Response:
    """Answer `GET /dead-letters/counts`: how many letters the filters match, by reason; at most `MAX_COUNTED`."""
    counts = await request.app[LETTERS].counts(parse_letter_filters(request.rel_url.raw_query_string))
    total = sum(counts.values())
    return json_answer({"counts": counts, "total": total, "complete": total < MAX_COUNTED})


async def get_access(request: web.Request) -> web.Response:
    """Answer `GET /dead-letters/access`: whether the server allows writes, and whether this caller may write.

    A wrong token is answered with 401.
    """
    admin = request.app[ADMIN]
    authorized = not admin.read_only and "Authorization" in request.headers
    if authorized:
        admin.check(request)
    return json_answer({"read_only": admin.read_only, "authorized": authorized})


async def get_letter(request: web.Request) -> web.Response:
    """Answer `GET /dead-letters/{partition}/{offset}`: one letter with the message's values masked.

    With `reveal=1` and the admin token the message is shown as it was sent, and `unwrapped` is the text behind a frame.
    """
    reveal = "reveal" in parse_parameters(request.rel_url.raw_query_string, _REVEAL)
    if reveal:
        request.app[ADMIN].check(request)
    place = _place(request)
    letter = await request.app[LETTERS].find(place)
    body = describe_letter(letter, SUBJECT_NAME, payload=reveal)
    if reveal:
        body |= _behind_frame(letter["payload"])
        log.info(events.LETTER_REVEALED, letter="{}:{}".format(*place), order_uid=letter["subject"])
    elif body["payload_bytes"] <= request.app[OPTIONS].letter_shape_max_bytes:
        # In a thread: masking a large message would delay the lookups of other callers.
        body |= await asyncio.to_thread(masked_view, letter["payload"])
    return json_answer(body)


async def post_replay(request: web.Request) -> web.Response:
    """Answer `POST /dead-letters/replay`: sends the letters again, if their number is still the expected one.

    With `dry_run` nothing is sent, and the answer is the plan.
    """
    order = await _body(request, ReplayOrder)
    selection = read_letter_filters(
        reason=order.reason, order_uid=order.order_uid, since=order.since, until=order.until
    )
    letters = request.app[LETTERS]
    if order.dry_run:
        return json_answer(await letters.plan(selection))
    if order.expected is None:
        raise WrongParameter("expected", _EXPECTED_RULE)
    outcome = await letters.replay(selection, order.expected)
    body = {
        "replayed": outcome.replayed,
        "not_acknowledged": outcome.not_acknowledged,
        "left": outcome.left,
    }
    if outcome.trouble:
        raise Refused(outcome.trouble, 503, headers=RETRY_LATER, **body)
    return json_answer(body)


async def post_replay_one(request: web.Request) -> web.Response:
    """Answer `POST /dead-letters/{partition}/{offset}/replay`, once the broker has acknowledged it."""
    await _body(request, ReplayOne)
    partition, offset = await request.app[LETTERS].replay_one(_place(request))
    return json_answer({"partition": partition, "offset": offset})


async def post_corrected(request: web.Request) -> web.Response:
    """Answer `POST /dead-letters/{partition}/{offset}/send`, once the broker has acknowledged the corrected message.

    With `dry_run` nothing is sent: the answer lists the message's errors, and says whether it would resolve the letter.
    """
    body = await _body(request, CorrectedMessage)
    payload = body.payload.encode()
    if not payload:
        raise WrongParameter("payload", _PAYLOAD_RULE)
    letters, place = request.app[LETTERS], _place(request)
    if body.dry_run:
        return json_answer(await _check(letters, place, payload, request.app[OPTIONS].value_format))
    partition, offset = await letters.send_corrected(place, payload)
    return json_answer({"partition": partition, "offset": offset})


def _behind_frame(payload: bytes | None) -> dict[str, str]:
    """Return the JSON behind a schema registry's frame, which nobody can type, as `unwrapped`."""
    if payload and is_framed(payload) and payload[FRAME_BYTES:].lstrip().startswith((b"{", b"[")):
        with suppress(UnicodeDecodeError):
            return {"unwrapped": payload[FRAME_BYTES:].decode()}
    return {}


async def _check(letters: DeadLetters, place: Place, text: bytes, value_format: str) -> dict[str, Any]:
    letter = await letters.find(place)
    payload = corrected(text, letter["payload"], value_format)
    verdict = await asyncio.to_thread(decode_order, payload, value_format)
    if isinstance(verdict, Rejected):
        return {"valid": False, "errors": verdict.errors, "order_uid": verdict.subject, "resolves": False}
    resolves = verdict.order_uid == letter["subject"]
    return {"valid": True, "errors": [], "order_uid": verdict.order_uid, "resolves": resolves}


async def _body(request: web.Request, kind: type[Any]) -> Any:
    """Return the body of a request that writes. Checks the token first: without it the body is not read."""
    request.app[ADMIN].check(request)
    options = request.app[OPTIONS]
    max_bytes = options.letter_body_max_bytes if kind is CorrectedMessage else options.max_body_bytes
    return await read_body(request, kind, max_bytes=max_bytes, deadline_s=options.letter_body_deadline_s)


def _place(request: web.Request) -> Place:
    try:
        return parse_place("{partition}:{offset}".format_map(request.match_info))
    except ValueError:
        raise Refused("letter_not_found", 404, consumed=False) from None


def add_dead_letters(application: web.Application, options: LookupOptions, connections: Connections) -> None:
    """Add the routes, and open their connections for the lifetime of the application."""
    application[OPTIONS] = options
    router = application.router
    place = r"/dead-letters/{partition:\d+}/{offset:\d+}"
    router.add_get("/dead-letters/list", get_list)
    router.add_get("/dead-letters/counts", get_counts)
    router.add_get("/dead-letters/access", get_access)
    router.add_get(place, get_letter)
    router.add_post("/dead-letters/replay", post_replay)
    router.add_post(f"{place}/replay", post_replay_one)
    router.add_post(f"{place}/send", post_corrected)

    async def open_letters(application: web.Application) -> AsyncIterator[None]:
        pool = await open_pool(
            connections,
            options.letter_connections,
            options.store_deadline_s,
            statement_cache_size=0,
            command_timeout=options.store_deadline_s,
        )
        sender = LetterSender(connections.kafka, connections.kafka_topic, options.broker_deadline_s)
        owner = Owner(connections.kafka_group, connections.kafka_topic)
        application[LETTERS] = DeadLetters(pool, sender, owner, options)
        yield
        await sender.close()
        pool.terminate()

    application.cleanup_ctx.append(open_letters)
