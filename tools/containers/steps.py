"""What is done with the running system, step by step. Each step returns what was seen, or raises `Failed`."""

from collections.abc import Awaitable, Callable

import attrs

from orderflow.exits import Failed
from tools.containers.images import Images
from tools.containers.orders import Orders
from tools.containers.report import Report
from tools.containers.rights import check_rights
from tools.containers.sizes import sizes
from tools.containers.stops import inspect_one, kill_container, stop_all, stop_container
from tools.containers.system import STORES, Inspected, System
from tools.containers.waiting import until, until_ok

ORDERS = 1_000
_RATE = 200
_ENGINES = 3
_BUILD_TIMEOUT_S = 1_200
_UP_TIMEOUT_S = 240
_READY_TIMEOUT_S = 90
_OWNERS_TIMEOUT_S = 60
_TESTS_TIMEOUT_S = 3_600


@attrs.frozen
class Steps:
    """The steps on one system. `tests` are the arguments for pytest; empty: the whole suite."""

    system: System
    orders: Orders
    images: Images
    report: Report
    tests: str

    async def build(self) -> str:
        """Build the image that is run."""
        await self.system.compose("build", timeout_s=_BUILD_TIMEOUT_S)
        return "the image of engine, HTTP server and commands"

    async def up(self) -> str:
        """`make up`."""
        await self._make("up")
        await self._until_well()
        return f"every service well, {self.system.url}"

    async def rights(self) -> str:
        """Few rights, checked from inside."""
        return await check_rights(self.system)

    async def publish(self) -> str:
        """Publish orders and look all of them up."""
        await self.orders.publish(ORDERS)
        return await self.orders.verify()

    async def scale(self) -> str:
        """Three engines of one worker each share the partitions."""
        await self._with_one_worker().compose(
            "up", "--detach", "--scale", f"engine={_ENGINES}", timeout_s=_UP_TIMEOUT_S
        )
        engines = await self._engines()
        if len(engines) != _ENGINES:
            raise Failed(f"{len(engines)} engines run")
        await self._until_owned_by(engines)
        await self.orders.publish(ORDERS)
        return f"all of {_ENGINES} have partitions; {await self.orders.verify()}"

    async def kill(self) -> str:
        """Kill one engine while orders arrive: the others go on, and it comes back by itself."""
        engines = await self._engines()
        async with self.orders.published_meanwhile(ORDERS, _RATE):
            await kill_container(self.system, engines[0])
            await until(lambda: self._restarted(engines[0]), _READY_TIMEOUT_S)
        await self._until_owned_by(engines)
        return f"it was started again and has partitions; {await self.orders.verify()}"

    async def stop(self) -> str:
        """Stop one engine while orders arrive, and start it again."""
        engines = await self._engines()
        async with self.orders.published_meanwhile(ORDERS, _RATE):
            took = await stop_container(self.system, engines[1])
        verified = await self.orders.verify()
        grace = engines[1]["Config"]["StopTimeout"]
        await self.system.run("docker", "start", engines[1]["Id"])
        await self._until_owned_by(engines)
        return f"exit code 0 after {took:.1f} s of {grace} s; {verified}"

    async def restart_stores(self) -> str:
        """Restart each store while orders arrive: no engine ends for it."""
        engines = await self._engines()
        for store in STORES:
            async with self.orders.published_meanwhile(ORDERS, _RATE):
                await self.system.compose("restart", store, timeout_s=_UP_TIMEOUT_S)
            await self._until_well()
        now = {engine["Id"]: engine["State"]["StartedAt"] for engine in await self._engines()}
        if now != {engine["Id"]: engine["State"]["StartedAt"] for engine in engines}:
            raise Failed("an engine has ended, or was started again, while a store was restarted")
        return f"{', '.join(STORES)}; no engine ended; {await self.orders.verify()}"

    async def recreate(self) -> str:
        """`make down` and `make up`: new containers on the old volumes."""
        before = {container["Id"] for container in await self.system.inspect()}
        await self._make("down")
        await self._make("up")
        await self._until_well()
        after = {container["Id"] for container in await self.system.inspect()}
        if before & after:
            raise Failed(f"{len(before & after)} containers were not made anew")
        await self.orders.publish(ORDERS)
        return f"{len(after)} new containers; {await self.orders.verify_all()}"

    async def run_tests(self) -> str:
        """`make run-tests`."""
        output = await self._make("run-tests", f"PYTEST_ARGS={self.tests}", timeout_s=_TESTS_TIMEOUT_S)
        [*_, last] = [line for line in output.splitlines() if " passed" in line] or [""]
        if not last:
            raise Failed("the output of the tests does not say how many have passed")
        return f"{last.strip('= ')}: {self.tests or 'the whole suite'}"

    async def measure(self) -> str:
        """Sizes of images and containers, for the table."""
        self.report.sizes[:] = await sizes(self.system, self.images.names)
        return "see below the steps"

    async def stop_everything(self) -> str:
        """Stop everything, each container within its grace period."""
        return await stop_all(self.system)

    async def _make(self, target: str, *words: str, timeout_s: float = _BUILD_TIMEOUT_S) -> str:
        return await self.system.run("make", target, *words, timeout_s=timeout_s)

    def _with_one_worker(self) -> System:
        return attrs.evolve(self.system, run=self.system.run.with_variables({"WORKERS": "1"}))

    async def _engines(self) -> list[Inspected]:
        return [found for found in await self.system.inspect("engine") if found["State"]["Running"]]

    async def _until_well(self) -> None:
        for route in ("readyz", "healthz"):
            await until_ok(f"{self.system.url}/{route}", _READY_TIMEOUT_S)

    async def _until_owned_by(self, engines: list[Inspected]) -> None:
        wanted = {engine["Config"]["Hostname"] for engine in engines}

        async def look() -> str | None:
            owners = await self.orders.owners()
            return (
                None if owners == wanted else f"partitions belong to {sorted(owners)}, the engines are {sorted(wanted)}"
            )

        await until(look, _OWNERS_TIMEOUT_S)

    async def _restarted(self, engine: Inspected) -> str | None:
        now = await inspect_one(self.system, engine)
        again = now["State"]["Running"] and now["State"]["StartedAt"] != engine["State"]["StartedAt"]
        return None if again else f"the killed engine is {now['State']['Status']} ({now['State']['ExitCode']})"


def planned(steps: Steps, *, short: bool) -> dict[str, Callable[[], Awaitable[str]]]:
    """Return the steps in their order. The short form leaves out the tests in a container, whose image is large."""
    return {
        "build the image": steps.build,
        "make up": steps.up,
        "few rights": steps.rights,
        f"{ORDERS:,} orders": steps.publish,
        "three engines": steps.scale,
        "kill an engine": steps.kill,
        "stop an engine": steps.stop,
        "restart the stores": steps.restart_stores,
        "make down, make up": steps.recreate,
        **({} if short else {"make run-tests": steps.run_tests}),
        "sizes": steps.measure,
        "stop everything": steps.stop_everything,
    }
