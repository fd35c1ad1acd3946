"""Real PostgreSQL, Valkey and Apache Kafka as processes on this machine, without Docker, on the loopback only.

    services = ServiceSet(directory, settings)
    await services.up()              # starts the services that do not run
    await services.kafka.kill()      # each service can be stopped, killed, frozen and started separately
    await services.down()

A service's data, log and pid file are under `directory`; downloads are shared in the cache folder.
"""

from orderflow.services.ports import free_ports, port_in_use
from orderflow.services.service import Service, ServiceStatus
from orderflow.services.service_set import ServiceSet

__all__ = ["Service", "ServiceSet", "ServiceStatus", "free_ports", "port_in_use"]
