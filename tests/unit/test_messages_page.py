"""docs/messages.md shows an order that is one."""

import re
from pathlib import Path

from handlers.decode import decode_order
from handlers.model import Order

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"


def test_the_whole_order_of_the_page_is_valid() -> None:
    """Whoever copies it has a message that is stored."""
    [example] = re.findall(r"^```json\n(\{\n.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert isinstance(decode_order(example.encode()), Order)
