"""Stops and kills containers, and checks how they end."""

import time

from orderflow.exits import Failed
from tools.containers.system import Inspected, System, service_of

_KAFKA_AFTER_SIGTERM = 143
_STOP_TIMEOUT_S = 120


def stop_faults(container: Inspected) -> list[str]:
    """Return what is wrong with the way in which a container has ended that was asked to stop."""
    state, service = container["State"], service_of(container)
    allowed = {0, _KAFKA_AFTER_SIGTERM} if service == "kafka" else {0}  # Java ends so after its clean shutdown
    faults = [f"{service} still runs"] if state["Running"] else []
    faults += [f"{service} ended with exit code {state['ExitCode']}"] if state["ExitCode"] not in allowed else []
    faults += [f"{service} was out of memory"] if state["OOMKilled"] else []
    return faults


async def stop_container(system: System, container: Inspected) -> float:
    """Stop one container with the grace period that the compose file gives it, and return the seconds it took.

    Raises `Failed` unless it ends by itself and with exit code 0.
    """
    began = time.monotonic()
    await system.run("docker", "stop", container["Id"], timeout_s=_STOP_TIMEOUT_S)
    took = time.monotonic() - began
    faults = stop_faults(await inspect_one(system, container))
    if took > container["Config"]["StopTimeout"]:
        faults.append(f"the stop took {took:.1f} s of {container['Config']['StopTimeout']} s")
    if faults:
        raise Failed("; ".join(faults))
    return took


async def stop_all(system: System) -> str:
    """Stop the whole system and check how each container ended. Returns what was seen. Raises `Failed`."""
    began = time.monotonic()
    await system.compose("stop", timeout_s=_STOP_TIMEOUT_S)
    took = time.monotonic() - began
    containers = await system.inspect()
    if faults := [fault for container in containers for fault in stop_faults(container)]:
        raise Failed("; ".join(faults))
    return f"{len(containers)} containers, none killed ({took:.1f} s)"


async def kill_container(system: System, container: Inspected) -> None:
    """Kill all processes of a container from outside, as a machine that runs out of memory does.

    `docker kill` would not do: the engine takes it as a wish to stop, and does not start the container again.
    """
    pid = container["State"]["Pid"]
    killer = ["--rm", "--pid", "host", "--user", "0", "--network", "none", f"{system.project}-runtime"]
    await system.run("docker", "run", *killer, "python", "-c", f"import os; os.kill({pid}, 9)")


async def inspect_one(system: System, container: Inspected) -> Inspected:
    """Return a container as it is now."""
    [found] = [one for one in await system.inspect(service_of(container)) if one["Id"] == container["Id"]]
    return found
