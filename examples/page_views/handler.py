"""The handler: reads page views, and writes batches of them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from asyncpg import Connection, UniqueViolationError
from msgspec import Meta, Struct, ValidationError, convert, json, structs

from engine import Batch, FieldError, Handler, Record, Rejected, RewriteBatch, Written, copy_records

from .names import TABLE

Name = Annotated[str, Meta(min_length=1, max_length=500)]
_KNOWN = f"SELECT view_id FROM {TABLE} WHERE view_id = ANY($1::uuid[])"


class PageView(Struct, frozen=True):
    """One page view: the content of a message, and a row of the table."""

    view_id: UUID
    page: Name
    visitor: Name
    viewed_at: Annotated[datetime, Meta(tz=True)]
    duration_ms: Annotated[int, Meta(ge=0, le=86_400_000)]


class PageViewHandler(Handler[PageView]):
    """Stores each page view once, even if a producer sends it twice."""

    subject_name = "view_id"

    def handle_message(self, record: Record) -> PageView | Rejected:
        """Return the page view, or a rejection with all errors."""
        try:
            document = json.decode(record.value or b"")
        except (ValueError, RecursionError):
            return Rejected("invalid_json", (FieldError("", "must be JSON in UTF-8"),))
        try:
            return convert(document, PageView)
        except ValidationError:
            return Rejected("invalid_page_view", tuple(_errors(document)))

    def subject(self, value: PageView) -> str:
        """Return the view's id."""
        return str(value.view_id)

    async def handle_batch(self, connection: Connection, batch: Batch[PageView]) -> Written:
        """Copy the views that are not stored yet."""
        views = {view.view_id: view for _, view in batch.accepted()}
        for row in await connection.fetch(_KNOWN, list(views)):
            del views[row["view_id"]]
        rows = [structs.astuple(views[view_id]) for view_id in sorted(views)]
        try:
            await copy_records(connection, TABLE, PageView.__struct_fields__, rows)
        except UniqueViolationError:  # another worker has just stored the same view: the next try sees it
            raise RewriteBatch from None
        return Written(inserted=len(rows), unchanged=len(batch.accepted()) - len(rows))


def _errors(document: object) -> Iterator[FieldError]:
    if not isinstance(document, dict):
        yield FieldError("", "must be an object")
        return
    for field in structs.fields(PageView):
        try:
            convert(document[field.name], field.type)
        except KeyError:
            yield FieldError(field.name, "is required")
        except ValidationError as error:
            yield FieldError(field.name, str(error))
