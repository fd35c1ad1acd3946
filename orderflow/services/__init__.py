"""Real PostgreSQL, Valkey and Apache Kafka as processes of this machine, without Docker, on the loopback only.

    one = ServiceSet(directory, settings)
    await one.up()              # starts what does not run yet
    await one.kafka.kill()      # each service can be stopped, killed, frozen and started by itself
    await one.down()

A service's data, log and pid file live under `directory`; what is downloaded is shared through the cache folder.
"""

from orderflow.services.ports import free_ports, held
from orderflow.services.service import Service, ServiceStatus
from orderflow.services.service_set import ServiceSet

__all__ = ["Service", "ServiceSet", "ServiceStatus", "free_ports", "held"]
