"""Hosts in miniature: network namespaces on one bridge, each with an address, and a link that can be cut.

A host that is cut off is silent: what is sent to it and from it vanishes, and nobody is told. Every host therefore
knows the hardware addresses of all others. If it had to ask for them, its own kernel would report after three seconds
that there is no way to the silent one, as it does not when a router is in between.

Nothing leads from these networks to that of this machine. They need root, and the command `ip` (iproute2).
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

import attrs
import pytest

from orderflow.services.ports import LOOPBACK

_SUBNET = "198.18.0"  # for tests of networks (RFC 2544): nobody's address is in it
_ITSELF, _FIRST_HOST = 1, 11
_CLONE_NEWNET = 0x40000000
_RECORD = ".netns"
_BRIDGE, _LINK = "bridge", "eth0"


@attrs.frozen
class Host:
    """A host: its name, its address, and the name of its namespace, which is empty for the machine itself."""

    name: str
    address: str
    namespace: str = ""

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs the command that follows it on this host."""
        return ("ip", "netns", "exec", self.namespace) if self.namespace else ()


THIS_MACHINE = Host("this machine", LOOPBACK)


@attrs.frozen
class HostNetwork:
    """The hosts, by name, and the namespace of the bridge between them."""

    hosts: Mapping[str, Host]
    namespace: str

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def at(self, address: str) -> Host:
        """Return the host with this address."""
        return next(host for host in self.hosts.values() if host.address == address)

    def cut(self, host: Host) -> None:
        """Set the link of a host down, at the bridge: its own end only loses the carrier, as with a pulled cable."""
        _ip(self.namespace, f"link set {host.name} down")

    def heal(self, host: Host) -> None:
        """Set the link up again."""
        _ip(self.namespace, f"link set {host.name} up")


def require_hosts() -> None:
    """Skip the test if hosts in miniature cannot be made here."""
    if shutil.which("ip") is None:
        pytest.skip("left out: this needs the command ip (apt-get install iproute2)")
    if os.geteuid() != 0:
        pytest.skip("left out: this needs network namespaces, which only root may make")
    try:
        with _namespaces([f"orderflow-trial-{token_hex(6)}"]) as [trial]:
            _ip(trial, f"link add {_BRIDGE} type bridge", f"link add {_LINK} type veth peer name other")
    except NetworkCommandFailed as error:
        pytest.skip(f"left out: this needs network namespaces, which cannot be made here ({error})")


@contextmanager
def host_network(directory: Path, names: Sequence[str]) -> Iterator[HostNetwork]:
    """Make a host for each name, and let this process use their network, as one more host, until the context ends.

    A name is that of a network interface too: 15 characters at most. The names of the namespaces are noted in
    `directory`: whoever cleans up after a run that was killed finds them there.
    """
    prefix = f"orderflow-{token_hex(6)}"
    spaces = [f"{prefix}-{name}" for name in (_BRIDGE, *names)]
    addresses = {name: f"{_SUBNET}.{number}" for number, name in enumerate(names, start=_FIRST_HOST)}
    hosts = {name: Host(name, address, f"{prefix}-{name}") for name, address in addresses.items()}
    with _noted(directory, spaces), _namespaces(spaces) as [bridge, *_]:
        own = f"{_SUBNET}.{_ITSELF}"
        everybody = [own, *addresses.values()]
        _ip(bridge, f"link add {_BRIDGE} address {_hardware(own)} type bridge", *_connected(_BRIDGE, own, everybody))
        for name, host in hosts.items():
            _ip(
                bridge,
                f"link add {name} type veth peer name {_LINK} address {_hardware(host.address)} netns {host.namespace}",
                f"link set {name} master {_BRIDGE} up",
            )
            _ip(host.namespace, *_connected(_LINK, host.address, everybody))
        with entered(bridge):
            yield HostNetwork(hosts, bridge)


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Let this thread use the network of a namespace, with the threads and processes that it starts meanwhile."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _set_network(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _set_network(here)
    finally:
        os.close(here)


def remove_noted(directory: Path) -> None:
    """Remove the namespaces that are noted anywhere under `directory`."""
    for record in directory.rglob(f"*{_RECORD}"):
        subprocess.run(["ip", "netns", "delete", record.stem], capture_output=True, check=False)


@contextmanager
def _noted(directory: Path, namespaces: Sequence[str]) -> Iterator[None]:
    records = [directory / f"{namespace}{_RECORD}" for namespace in namespaces]
    for record in records:
        record.touch()
    try:
        yield
    finally:
        for record in records:
            record.unlink()


@contextmanager
def _namespaces(names: Sequence[str]) -> Iterator[list[str]]:
    with ExitStack() as removing:
        for name in names:
            _run("ip", "netns", "add", name)
            removing.callback(_run, "ip", "netns", "delete", name)
        yield list(names)


def _connected(link: str, address: str, everybody: Sequence[str]) -> list[str]:
    """Return the commands that give a namespace its address, and tell it the hardware addresses of all others."""
    others = [each for each in everybody if each != address]
    return [
        "link set lo up",
        f"link set {link} up",
        f"address add {address}/24 dev {link}",
        *(f"neighbour replace {each} lladdr {_hardware(each)} dev {link} nud permanent" for each in others),
    ]


def _hardware(address: str) -> str:
    return "02:00:00:00:00:{:02x}".format(int(address.rpartition(".")[2]))


class NetworkCommandFailed(Exception):
    """A command that makes or changes a network failed. The message is what it wrote."""


def _ip(namespace: str, *commands: str) -> None:
    _run("ip", "-netns", namespace, "-batch", "-", stdin="\n".join(commands))


def _run(*command: str, stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkCommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is only there in Python 3.12
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
