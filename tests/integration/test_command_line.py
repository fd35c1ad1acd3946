"""What is true of every command: where its output goes, how it ends when it is broken off, what the shell completes."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from msgspec import json

from orderflow.services import free_ports
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.programs import Programs
from tests.support.topic import send

LAG_OF_NOTHING = {
    "lag": 0,
    "lag_s": 0.0,
    "end_offset": 0,
    "held_by_transaction": 0,
    "owner": None,
    "paused_at": None,
    "paused_by": None,
}
READING = ["lag --watch", "dlq list --json", "doctor", "publish 3", "-h"]
ORDERFLOW = Path(sys.executable).with_name("orderflow")


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Provide the writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full_disk() -> Iterator[int]:
    """Provide a file on a disk that is full."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


async def run_into(orderflow: Programs, stdout: int, *arguments: str) -> tuple[int, str]:
    """Run the command with its standard output in `stdout`; return the exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        ORDERFLOW,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **orderflow.environment},
        cwd=orderflow.folder,
    )
    async with asyncio.timeout(30):
        _, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stderr.decode()


@pytest.mark.parametrize("command", READING)
async def test_an_output_that_nobody_reads_ends_a_command_quietly(orderflow: Programs, command: str) -> None:
    """As it ends any other program in a pipe into `head`, and PostgreSQL is not blamed for it."""
    with closed_pipe() as writer:
        code, stderr = await run_into(orderflow, writer, *command.split())
    assert code == 141
    assert stderr == ""


@pytest.mark.parametrize("command", READING)
async def test_an_output_that_cannot_be_written_is_a_failure_in_one_line(orderflow: Programs, command: str) -> None:
    """A list on a full disk must not pass for a whole one."""
    with full_disk() as descriptor:
        code, stderr = await run_into(orderflow, descriptor, *command.split())
    assert code == 1
    assert stderr == "orderflow: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "variable", "form", "service"),
    [
        ("migrate", "POSTGRES_PORT", "{}", "PostgreSQL"),
        ("dlq list", "POSTGRES_PORT", "{}", "PostgreSQL"),
        ("lag --watch", "KAFKA_BROKERS", "127.0.0.1:{}", "Kafka"),
        ("topics create", "KAFKA_BROKERS", "127.0.0.1:{}", "Kafka"),
        ("publish 5", "KAFKA_BROKERS", "127.0.0.1:{}", "Kafka"),
    ],
)
async def test_a_wait_is_told_and_ctrl_c_ends_it(
    orderflow: Programs, command: str, variable: str, form: str, service: str
) -> None:
    """What is waited for, where and for how long; and no traceback, only the exit code of an interruption."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    waiting = await orderflow.start(*command.split(), **{variable: form.format(address.rpartition(":")[2])})
    line = await waiting.wait_for_line("Waiting for")
    assert line.startswith(f"Waiting for {service} on {address}, ")
    expected = 0 if "--watch" in command else 130  # Ctrl-C is the usual end of watching
    assert await waiting.stop(signal.SIGINT) == expected
    assert [told for told in waiting.stderr_lines if told] == [line]


async def test_a_wait_for_a_lock_is_told_with_who_holds_it(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """On standard error, while the commands wait; then they go on as if nothing had been."""
    await orderflow.run("offsets", "reset")
    pid = database.get_server_pid()
    async with database.transaction():
        await database.execute("LOCK TABLE orders, consumed_offsets IN ACCESS EXCLUSIVE MODE")
        asking = [await orderflow.start(*line.split()) for line in ("trace -- -1", "offsets show")]
        for each in asking:
            line = await each.wait_for_line("Still waiting for PostgreSQL on ")
            assert line.endswith(", idle in transaction) holds the lock")
            assert f": process {pid} (" in line
    assert [await each.ended() for each in asking] == [1, 0]
    async with database.transaction():
        await database.execute("SELECT FROM consumed_offsets FOR UPDATE")
        reset = await orderflow.start("offsets", "reset")
        assert f": process {pid} (" in await reset.wait_for_line("Still waiting for PostgreSQL on ")
        assert reset.stdout_lines == []
    assert await reset.ended() == 0
    assert len(reset.stdout_lines) == settings.kafka_partitions


async def test_a_service_that_logs_tells_its_wait_in_the_log(orderflow: Programs) -> None:
    """No plain line stands among the JSON, and a stop during the wait is a clean one."""
    engine = await orderflow.start("engine", POSTGRES_PORT=str(free_ports(1)[0]))
    assert (await engine.wait_for("waiting_for_service"))["service"] == "PostgreSQL"
    assert await engine.stop(signal.SIGINT) == 0
    assert len(engine.events) == len(engine.stderr_lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("lga", "orderflow: No such command 'lga'. See `orderflow --help`\n"),
        ("lag --jsn", "orderflow: No such option '--jsn'. Did you mean '--json'? See `orderflow lag --help`\n"),
        (
            "trace -1",
            "orderflow: No such option '-1'. If it is a uid, write `orderflow trace -- -1`. "
            "See `orderflow trace --help`\n",
        ),
        ("trace", "orderflow: Missing argument 'UID'. See `orderflow trace --help`\n"),
        (
            "dlq list --since 1h --until 2h",
            "orderflow: --since must be before --until. See `orderflow dlq list --help`\n",
        ),
    ],
)
async def test_wrong_usage_is_told_in_one_line(orderflow: Programs, arguments: str, told: str) -> None:
    """With where to read on."""
    ended = await orderflow.run(*arguments.split())
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", told)


async def test_without_arguments_there_is_help(orderflow: Programs) -> None:
    """On standard error: a subcommand is missing."""
    ended = await orderflow.run()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Exit codes:" in ended.stderr


async def test_a_file_of_settings_that_is_no_text_is_named(orderflow: Programs) -> None:
    """It was made by an editor that writes UTF-16, say."""
    (orderflow.folder / ".env").write_bytes("LOG_LEVEL=info".encode("utf-16"))
    ended = await orderflow.run("brake", "status")
    assert (ended.returncode, ended.stderr) == (3, "orderflow: .env must be text in UTF-8: fix or remove it\n")


@pytest.mark.parametrize("command", ["engine", "serve"])
async def test_a_start_names_the_lines_that_not_all_read_alike(orderflow: Programs, command: str) -> None:
    """In the log, before anything else can fail, and without the value."""
    (orderflow.folder / ".env").write_text("# ours\nADMIN_TOKEN=it's swordfish\n")
    program = await orderflow.start(command, POSTGRES_PORT=str(free_ports(1)[0]))
    told = await program.wait_for("env_line_is_odd")
    assert (told["level"], told["line"], told["name"]) == ("warning", 2, "ADMIN_TOKEN")
    assert "double quotes" in told["detail"]
    await program.wait_for("waiting_for_service")
    assert await program.stop(signal.SIGINT) == 0
    assert len([event for event in program.events if event["event"] == "env_line_is_odd"]) == 1
    assert "swordfish" not in "".join(program.stderr_lines)


@pytest.mark.parametrize(
    ("command", "empty"),
    [
        ("dlq list", []),
        ("brake status", []),
        ("offsets show", []),
        ("lag", [{"topic": None, "partition": n, **LAG_OF_NOTHING} for n in range(4)]),
        (
            "dlq replay --everything",
            {"dry_run": False, "chosen": {}, "skipped": {}, "beyond_maximum": 0, "replayed": {}},
        ),
        ("prune --dry-run", {"dry_run": True, "dead_letters": 0, "batches": 0}),
    ],
)
async def test_nothing_is_json_too(orderflow: Programs, settings: Settings, command: str, empty: object) -> None:
    """On standard output there is one document, of the same form as with something in it."""
    ended = await orderflow.run(*command.split(), "--json")
    found = json.decode(ended.stdout)
    for one in found if command == "lag" else []:
        assert one.pop("topic") == settings.kafka_topic
        assert one.pop("next_offset") in {0, None}
        one["topic"] = None
    if command.startswith("prune"):
        found.pop("before")
    assert (ended.returncode, found) == (0, empty)


async def test_a_place_has_the_names_of_the_log_in_every_list(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Topic, partition and offset, whatever lists them; an order is its order_uid."""
    engine = await orderflow.start("engine", "--workers", "1")
    await send(settings, (None, b'{"order_uid": "rejected"}'), partition=2)
    logged = await engine.wait_for("order_rejected")
    await engine.wait_for("dead_letter_published", order_uid="rejected")
    lists = {
        name: json.decode((await orderflow.run(*name.split(), "--json")).stdout)
        for name in ("dlq list", "offsets show", "lag")
    }
    [letter] = lists["dlq list"]
    names = ("topic", "partition", "offset", "order_uid", "reason")
    assert [letter[name] for name in names] == [logged[name] for name in names]
    story = json.decode((await orderflow.run("trace", "rejected", "--json")).stdout)
    assert [story["dead_letters"][0][name] for name in names[:3]] == [logged[name] for name in names[:3]]
    shown = lists["offsets show"][2]
    assert (shown["topic"], shown["partition"], shown["last_offset"]) == (logged["topic"], 2, logged["offset"])
    assert (lists["lag"][2]["topic"], lists["lag"][2]["partition"]) == (logged["topic"], 2)


async def with_terminal(
    orderflow: Programs, *arguments: str, typed: str | None = None, returncode: int = 0
) -> tuple[list[str], str]:
    """Run the command with a terminal as its standard error; return the lines of output, and what was drawn.

    With `typed`, the terminal is its standard input, too, and this is what a person types there.
    """
    master, slave = pty.openpty()
    if typed is not None:
        os.write(master, typed.encode())
    process = await asyncio.create_subprocess_exec(
        ORDERFLOW,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if typed is None else slave,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
        env={**os.environ, **orderflow.environment, "TERM": "xterm"},
        cwd=orderflow.folder,
    )
    os.close(slave)

    def read() -> bytes:
        drawn = b""
        try:
            while chunk := os.read(master, 4096):
                drawn += chunk
        except OSError:  # how a terminal tells that the other end is closed
            pass
        return drawn

    async with asyncio.timeout(30):
        drawing = asyncio.create_task(asyncio.to_thread(read))
        stdout, _ = await process.communicate()
        drawn = (await drawing).decode()
    os.close(master)
    assert process.returncode == returncode, drawn
    return stdout.decode().splitlines(), drawn


@pytest.mark.parametrize(("typed", "returncode", "lines"), [("n\n", 1, 0), ("\n", 1, 0), ("y\n", 0, 4)])
async def test_whoever_is_at_a_terminal_is_asked_before_messages_are_left_out(
    orderflow: Programs, settings: Settings, typed: str, returncode: int, lines: int
) -> None:
    """With how many, and of which partitions. No is the answer unless it is yes."""
    await send(settings, (None, b"{}"), partition=2)
    reset = ("offsets", "reset", "--to", "latest")
    stdout, drawn = await with_terminal(orderflow, *reset, typed=typed, returncode=returncode)
    assert "not consumed yet: 1 of partition 2. Continue? [y/N]" in drawn
    assert ("nothing was changed" in drawn) == bool(returncode)
    assert len(stdout) == lines


async def test_long_work_draws_a_bar_for_whoever_watches(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """On a terminal at standard error; standard output is the same as without, and a pipe sees no bar."""
    for offset in range(3):
        await store_letter(database, settings, kafka_offset=offset)
    for command, label, lines in (("publish 1000", "Publishing", 1002), ("dlq replay --everything", "Replaying", 1)):
        stdout, drawn = await with_terminal(orderflow, *command.split())
        assert label in drawn
        assert "100%" in drawn
        assert len(stdout) == lines
        assert "\x1b" not in "".join(stdout)
    await database.execute("UPDATE dead_letters SET published_at = failed_at, resolved_at = now() - interval '9 days'")
    await database.execute("UPDATE dead_letters SET replayed_at = NULL")
    stdout, drawn = await with_terminal(orderflow, "prune", "--older-than", "1d")
    assert "Deleting" in drawn
    assert stdout[0].startswith("Deleted 3 resolved dead letters")
    piped = await orderflow.run("publish", "1000")
    assert (len(piped.lines), piped.stderr) == (1002, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("do", ["doctor"]),
        ("dlq ", ["list", "publish", "replay", "show"]),
        ("dlq list --reason inv", ["invalid_json", "invalid_order"]),
        ("offsets reset --to l", ["latest"]),
        ("services status --j", ["--json"]),
    ],
)
async def test_bash_completes(typed: str, offered: list[str]) -> None:
    """After the line of docs/commands.md, for the command as it is typed there."""
    script = f"""
        eval "$(_ORDERFLOW_COMPLETE=bash_source {ORDERFLOW})"
        complete -p orderflow >&2 && COMP_WORDS=({ORDERFLOW} {typed.rstrip()} {"''" if typed.endswith(" ") else ""})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && _orderflow_completion {ORDERFLOW} && echo "${{COMPREPLY[@]}}"
    """
    bash = await asyncio.create_subprocess_exec(
        "bash", "--norc", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        stdout, stderr = await bash.communicate()
    assert stdout.decode().split() == offered, stderr.decode()
