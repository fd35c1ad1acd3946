"""The parts of the HTTP application that need no stores: uids, the page's files, health."""

import asyncio
from pathlib import Path

import pytest
from lookup.operations.health import Check, Health, Unhealthy, render_health
from lookup.orders.uid import parse_order_uid
from lookup.serving.static import PageMissing, read_page


@pytest.mark.parametrize(
    ("raw_path", "order_uid"),
    [
        ("/order/b563feb7b2b84b6test", "b563feb7b2b84b6test"),
        ("/order/a%2Fb", "a/b"),
        ("/order/%252F", "%2F"),
        ("/order/%20a+b%20", " a+b "),
        ("/order/%D0%B6", "ж"),
        ("/order/ж", "ж"),
        ("/order/100%", "100%"),
        ("/order/%zz", "%zz"),
        ("/order//order/x", "/order/x"),
        ("/order/", None),
        ("/order/a%00", None),
        ("/order/%ED%A0%80", None),
        ("/order/\udcff", None),
        ("/order/%F0%9F%98%80" + "a" * 508, "😀" + "a" * 508),
        ("/order/%F0%9F%98%80" + "a" * 509, None),
    ],
)
def test_a_uid_is_decoded_once_and_bounded(raw_path: str, order_uid: str | None) -> None:
    """Slashes and percent signs survive; NUL, broken UTF-8 and more than 512 bytes do not."""
    assert parse_order_uid(raw_path) == order_uid


def test_the_page_is_a_fixed_set_of_files(tmp_path: Path) -> None:
    """Only files of known types become routes; a link to elsewhere does not."""
    secret = tmp_path / "secret.js"
    secret.write_text("secret")
    folder = tmp_path / "ui"
    (folder / "parts").mkdir(parents=True)
    for name in ("index.html", "parts/a.js", "notes.txt", ".env"):
        (folder / name).write_text(name)
    (folder / "link.js").symlink_to(secret)
    files = {file.route: file for file in read_page(folder)}
    assert set(files) == {"/", "/ui/parts/a.js"}
    assert files["/ui/parts/a.js"].content == b"parts/a.js"
    assert len({file.etag for file in files.values()}) == 2


def test_a_page_without_an_index_is_refused(tmp_path: Path) -> None:
    """A folder that is not the page's is found out at start."""
    with pytest.raises(PageMissing, match=r"index\.html"):
        read_page(tmp_path)


async def test_callers_at_the_same_time_share_one_run() -> None:
    """Ten callers, one check each; the next caller gets a new run."""
    runs = 0

    async def check() -> dict[str, int]:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return {"runs": runs}

    health = Health({"part": check}, deadline_s=1)
    found = await asyncio.gather(*(health.examine() for _ in range(10)))
    assert {part.details["runs"] for parts in found for part in parts} == {1}
    assert (await health.examine())[0].details["runs"] == 2


async def test_a_caller_who_leaves_does_not_end_the_run_of_the_others() -> None:
    """The run is nobody's own."""
    release = asyncio.Event()

    async def check() -> dict[str, int]:
        await release.wait()
        return {}

    health = Health({"part": check}, deadline_s=5)
    first, second = asyncio.create_task(health.examine()), asyncio.create_task(health.examine())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    release.set()
    assert (await second)[0].healthy


async def test_what_postgresql_tells_of_is_not_known_without_it() -> None:
    """It is not said to be out of reach itself; with PostgreSQL, its own trouble is told."""

    async def raising(error: Exception) -> dict[str, int]:
        raise error

    async def well() -> dict[str, int]:
        return {}

    def told_with(postgresql: Check) -> Health:
        checks = {"postgresql": postgresql, "engine": lambda: raising(OSError()), "redis": lambda: raising(OSError())}
        return Health(checks, deadline_s=1, needs_postgresql=("engine",))

    for postgresql, engine in (
        (lambda: raising(OSError()), "not known: it is read from "),
        (well, "not reachable"),
    ):
        rendered = render_health(await told_with(postgresql).examine())
        assert rendered["checks"]["engine"]["status"] == "unavailable"
        assert rendered["checks"]["engine"]["error"].startswith(engine)
        assert rendered["checks"]["redis"]["error"] == "not reachable"


async def test_what_is_wrong_is_said_without_what_drivers_say() -> None:
    """A driver's text may hold an address or a password; only our own words are shown."""

    async def raising(error: Exception) -> dict[str, int]:
        raise error

    async def silent() -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    health = Health(
        {
            "refused": lambda: raising(ConnectionRefusedError("10.0.0.1:5432 password=secret")),
            "odd": lambda: raising(ValueError("password=secret")),
            "silent": silent,
            "unwell": lambda: raising(Unhealthy("no worker works: 1 outage")),
        },
        deadline_s=0.05,
    )
    rendered = render_health(await health.examine())
    assert rendered["status"] == "unavailable"
    assert {name: check["error"] for name, check in rendered["checks"].items()} == {
        "refused": "not reachable",
        "odd": "ValueError",
        "silent": "no answer within 0.05 s",
        "unwell": "no worker works: 1 outage",
    }
