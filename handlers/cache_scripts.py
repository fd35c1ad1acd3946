"""The Lua scripts that run inside Redis."""

from hashlib import sha1
from importlib.resources import files

import attrs

_KEYS_AS_ARGUMENTS = """local given, KEYS, count = ARGV, {}, tonumber(ARGV[1])
for i = 1, count do KEYS[i] = given[i + 1] end
local ARGV = {}
for i = count + 2, #given do ARGV[#ARGV + 1] = given[i] end
"""


@attrs.frozen
class Script:
    """The source of a script, and the name that Redis knows it by."""

    source: str
    sha: str = attrs.field(init=False)

    @sha.default
    def _make_sha(self) -> str:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    @property
    def with_keys_as_arguments(self) -> "Script":
        """The same script, which takes its keys as arguments: their number, the keys, and then its own arguments.

        Redis Cluster lets a script have declared keys of one slot only, but a script without flags may use every key
        that its node has.
        """
        return Script(_KEYS_AS_ARGUMENTS + self.source)


def _read(name: str) -> Script:
    return Script(files("handlers").joinpath(f"{name}.lua").read_text(encoding="utf-8"))


GET = _read("get")
PUT_NEWER = _read("put_newer")
PUT_TRACES = _read("put_traces")
DROP_OLDER = _read("drop_older")
ALL = {script.sha: script for script in (GET, PUT_NEWER, PUT_TRACES, DROP_OLDER)}
AS_ARGUMENTS = {sha: script.with_keys_as_arguments for sha, script in ALL.items()}
"""By the sha of the script: the one that takes its keys as arguments."""
