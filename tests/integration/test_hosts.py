"""The hosts in miniature that fault runs cut off: a cut is silent, is healed, and nothing is left of them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hosts import Host, host_network, remove_noted, require_hosts

_ECHO = """
import socket
with socket.create_server(("", 7)) as server:
    print("ready", flush=True)
    while True:
        caller, _ = server.accept()
        with caller:
            while data := caller.recv(100):
                caller.sendall(data)
"""
_TRY = "import socket, sys; socket.create_connection((sys.argv[1], 7), timeout=float(sys.argv[2])).close()"
LONGER_THAN_A_KERNEL_LOOKS_FOR_A_NEIGHBOUR_S = 3.5


@pytest.fixture(autouse=True)
def _where_they_can_be_made() -> None:
    require_hosts()


@contextmanager
def echo(host: Host) -> Iterator[None]:
    """Run a server on the host that sends back what it is sent."""
    command = [*host.within, sys.executable, "-c", _ECHO]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            server.kill()


def reach(caller: Host, host: Host, timeout_s: float = 5) -> str:
    """Connect from one host to another; return the last line of the error, which is empty without one."""
    command = [*caller.within, sys.executable, "-c", _TRY, host.address, str(timeout_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


def namespaces() -> set[str]:
    return {entry.name for entry in Path("/run/netns").iterdir()}


def network_of_this_process() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_a_host_that_is_cut_off_is_silent_until_its_link_is_back(tmp_path: Path) -> None:
    """No error for a connection that is open, none for one that is tried; then the open one goes on where it was."""
    with host_network(tmp_path, ["east", "west"]) as network, echo(network["west"]):
        east, west = network["east"], network["west"]
        assert reach(east, west) == ""
        with socket.create_connection((west.address, 7), timeout=5) as open_before:
            network.cut(west)
            open_before.sendall(b"still there?")
            said = reach(east, west, LONGER_THAN_A_KERNEL_LOOKS_FOR_A_NEIGHBOUR_S)
            assert "timed out" in said
            open_before.settimeout(0.1)
            with pytest.raises(TimeoutError):
                open_before.recv(100)
            network.heal(west)
            open_before.settimeout(20)
            assert open_before.recv(100) == b"still there?"
        assert reach(east, west) == ""


def test_nothing_is_left_of_hosts_after_a_failure(tmp_path: Path) -> None:
    """No namespace, no note of one, and this process is back in the network of the machine."""
    before, made = network_of_this_process(), set[str]()

    def fail() -> None:
        with host_network(tmp_path, ["lonely"]) as network:
            made.update({network.namespace, network["lonely"].namespace})
            assert made <= namespaces()
            assert network_of_this_process() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not made & namespaces()
    assert network_of_this_process() == before
    assert list(tmp_path.iterdir()) == []


def test_whoever_cleans_up_after_a_killed_run_finds_its_hosts(tmp_path: Path) -> None:
    """By the notes in its folder; those of others stay."""
    killed, other = tmp_path / "killed" / "hosts", tmp_path / "other"
    for folder in (killed, other):
        folder.mkdir(parents=True)
    program = f"""
import os
from pathlib import Path
from tests.support.hosts import host_network
with host_network(Path({str(killed)!r}), ["lonely"]) as network:
    print(network.namespace, flush=True)
    os.kill(os.getpid(), 9)
"""
    run = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    left = run.stdout.strip()
    with host_network(other, ["lonely"]) as network:
        assert left in namespaces()
        remove_noted(killed)
        assert left not in namespaces()
        assert network.namespace in namespaces()
