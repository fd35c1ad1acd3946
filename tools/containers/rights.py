"""Checks, in the running containers, that our processes have few rights."""

import json
from typing import Any

from orderflow.exits import Failed
from tools.containers.system import OURS, Inspected, System, service_of

_INITS = {"docker-init", "tini", "catatonit"}
_USER = 10001
_READ_ONLY_FILE_SYSTEM = 30
_PROBE = """
import json, os, time

def status(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

def write(folder):
    try:
        open(os.path.join(folder, "probe"), "w").close()
        os.unlink(os.path.join(folder, "probe"))
    except OSError as error:
        return error.errno
    return 0

# A process whose parent has ended becomes a child of PID 1, which has to reap it.
if (child := os.fork()) == 0:
    if (orphan := os.fork()) == 0:
        time.sleep(0.2)
        os._exit(0)
    os._exit(0)
os.waitpid(child, 0)
time.sleep(0.6)
processes = [status(pid) for pid in os.listdir("/proc") if pid.isdigit()]
writes = {folder: write(folder) for folder in ("/", "/home/orderflow", "/opt/orderflow", "/usr/local/bin", "/tmp")}
print(json.dumps({"processes": processes, "writes": writes}))
"""


async def check_rights(system: System) -> str:
    """Check all our containers' settings, and engine and HTTP server from inside. Returns what was seen.

    Raises `Failed` with all faults.
    """
    containers = await system.inspect(*OURS)
    missing = set(OURS) - {service_of(container) for container in containers}
    faults = [f"there is no container of {name}" for name in sorted(missing)]
    faults += [f"{service_of(found)}: {fault}" for found in containers for fault in setting_faults(found)]
    running = [found for found in containers if found["State"]["Running"]]
    if {service_of(found) for found in running} != {"engine", "http"}:
        faults.append(f"{', '.join(service_of(found) for found in running) or 'nothing'} runs")
    seen = 0
    for found in running:
        probed = json.loads(await system.run("docker", "exec", found["Id"], "python", "-c", _PROBE))
        seen += len(probed["processes"])
        faults += [f"{service_of(found)}: {fault}" for fault in probe_faults(probed)]
    if faults:
        raise Failed("; ".join(faults))
    return f"{len(containers)} containers, {seen} processes: user {_USER}, no capability, read-only root, PID 1 reaps"


def setting_faults(container: Inspected) -> list[str]:
    """Return what is wrong with the settings of a container of ours."""
    host, config = container["HostConfig"], container["Config"]
    wrong = {
        "its root file system can be written": not host["ReadonlyRootfs"],
        f"it drops only {host['CapDrop']}": host["CapDrop"] != ["ALL"],
        f"it adds {host['CapAdd']}": bool(host["CapAdd"]),
        "it is privileged": host["Privileged"],
        f"its user is {config['User']!r}": config["User"] != "orderflow",
        "it may gain privileges": not any("no-new-privileges" in option for option in host["SecurityOpt"] or []),
        "it has no init": not host["Init"],
    }
    return [fault for fault, is_so in wrong.items() if is_so]


def probe_faults(probed: dict[str, Any]) -> list[str]:
    """Return what is wrong with what the probe has seen inside a container."""
    processes: list[dict[str, str]] = probed["processes"]
    faults = [
        f"process {process['Pid']} ({process['Name']}) has {wrong}"
        for process in processes
        for wrong in _process_faults(process)
    ]
    [first] = [process for process in processes if process["Pid"] == "1"]
    if first["Name"] not in _INITS:
        faults.append(f"PID 1 is {first['Name']}, not an init")
    for folder, error in probed["writes"].items():
        expected = 0 if folder == "/tmp" else _READ_ONLY_FILE_SYSTEM
        if error != expected:
            faults.append(f"writing to {folder} gives error {error} instead of {expected}")
    return faults


def _process_faults(process: dict[str, str]) -> list[str]:
    faults = [
        f"{name} {process[name]}"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        if int(process[name], 16)
    ]
    faults += [f"the user ids {process['Uid']}"] if set(process["Uid"].split()) != {str(_USER)} else []
    faults += ["no NoNewPrivs"] if process["NoNewPrivs"] != "1" else []
    faults += ["no parent that reaps it"] if process["State"].startswith("Z") else []
    return faults
