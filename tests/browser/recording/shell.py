"""A shell in a pseudo terminal: what is typed is typed, and every byte that comes back is kept with its time."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

COLUMNS, ROWS = 104, 25
PROMPT = b"\x1b[32morderflow\x1b[0m $ "
_PS1 = r"\[\e[32m\]orderflow\[\e[0m\] $ "
_KEY_S = 0.03
_CTRL_C = b"\x03"
_STOP_S = 60
_CHUNK = 65536


@attrs.define
class Shell:
    """An interactive bash. `output` is what it wrote: pairs of seconds (of the loop's clock) and bytes."""

    process: asyncio.subprocess.Process
    _master: int
    output: list[tuple[float, bytes]] = attrs.field(factory=list, init=False)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def read(self) -> None:
        """Keep what the terminal holds."""
        try:
            chunk = os.read(self._master, _CHUNK)
        except OSError:  # the shell is gone
            chunk = b""
        if chunk:
            self.output.append((asyncio.get_running_loop().time(), chunk))
        else:
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()

    @property
    def text(self) -> str:
        """Everything that was written so far."""
        return b"".join(chunk for _, chunk in self.output).decode(errors="replace")

    @property
    def idle(self) -> bool:
        """Whether it waits for a command."""
        return self.text.encode().endswith(PROMPT)

    async def type(self, command: str) -> None:
        """Type a command at a quick person's pace, without Enter."""
        for key in command:
            os.write(self._master, key.encode())
            await asyncio.sleep(_KEY_S)

    def paste(self, command: str) -> None:
        """Paste a command, without Enter."""
        os.write(self._master, command.encode())

    def enter(self) -> None:
        """Press Enter."""
        os.write(self._master, b"\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, _CTRL_C)

    async def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait until `text` was written. Raises `TimeoutError`, `EOFError` when the command ends first."""
        await self._until(lambda: text in self.text or self.idle, text, timeout_s)
        if text not in self.text:
            raise EOFError(f"the command ended before {text!r}:\n{self.text}")

    async def wait_until_idle(self, timeout_s: float) -> None:
        """Wait for the prompt. Raises as `wait_for`."""
        await self._until(lambda: self.idle, "a prompt", timeout_s)

    async def _until(self, true: Callable[[], bool], what: str, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not true():
                    if self.process.returncode is not None:
                        raise EOFError(f"the shell ended before {what!r}:\n{self.text}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"no {what!r} within {timeout_s:g} s:\n{self.text}") from None


@asynccontextmanager
async def running_shell(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Shell]:
    """Provide a shell in `folder`. At the end the program in it is interrupted, and has time to stop all it started."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    look = {"PS1": _PS1, "TERM": "xterm-256color", "HISTFILE": "/dev/null", "INPUTRC": "/dev/null"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "--noprofile", "-i"),
        cwd=folder,
        env={**environment, **look},
        preexec_fn=lambda: os.login_tty(slave),
    )
    os.close(slave)
    shell = Shell(process, master)
    loop = asyncio.get_running_loop()
    loop.add_reader(master, shell.read)
    try:
        await shell.wait_until_idle(10)
        yield shell
    finally:
        if not shell.idle:
            shell.interrupt()
            await shell.wait_until_idle(_STOP_S)
        loop.remove_reader(master)
        os.close(master)  # it hangs up
        await process.wait()
