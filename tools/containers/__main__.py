"""`python -m tools.containers [--short] [--tests ARGUMENTS]`."""

import asyncio
import sys
from pathlib import Path

import click

from orderflow.demo.signals import until_signalled
from orderflow.exits import INTERRUPTED, CannotStart, Failed, OrderflowError
from orderflow.progress import say
from orderflow.start.project import project_root, services_directory
from tools.containers.commands import Commands
from tools.containers.compose_plugin import compose_environment
from tools.containers.engine import docker_engine
from tools.containers.images import Images, find_images
from tools.containers.lock import only_run
from tools.containers.orders import Orders
from tools.containers.report import Report
from tools.containers.steps import Steps, planned
from tools.containers.system import images_removed, project_name, system, user_environment

_A_FEW = "tests/unit tests/integration/test_engine.py tests/integration/test_lookup_http.py tests/browser/test_page.py"


@click.command()
@click.option("--short", is_flag=True, help="Without the tests in a container.")
@click.option(
    "--tests", default=_A_FEW, show_default=True, help="Arguments for pytest in a container; '' for all tests."
)
def main(*, short: bool, tests: str) -> None:
    """Build the images and run the compose file: publish, scale, kill, stop, restart, recreate, and stop again."""
    report = Report()
    try:
        interrupted = asyncio.run(until_signalled(check(report, short=short, tests=tests)))
    except OrderflowError as error:
        click.echo(report)
        click.echo(f"containers: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(report)
    if interrupted:
        sys.exit(INTERRUPTED)


async def check(report: Report, *, short: bool, tests: str) -> None:
    """Run all steps. Raises `OrderflowError` from the step that fails, after everything was removed."""
    cache = services_directory() / "containers"
    with only_run(cache):
        run = Commands(project_root(), user_environment(), cache / "commands.log")
        run.log.write_text("")
        async with docker_engine(run, cache / "engine", Path("/run", project_name())) as engine:
            say(f"The Docker engine is {engine}")
            run = run.with_variables(engine.environment)
            run = run.with_variables(await compose_environment(run, cache))
            async with images_removed(run, engine):
                images = await _base_images(run, report, cache)
                async with system(run, engine, images, cache) as found:
                    steps = Steps(found, Orders(found, cache), images, report, tests)
                    for title, work in planned(steps, short=short).items():
                        await report.step(title, work)


async def _base_images(run: Commands, report: Report, cache: Path) -> Images:
    """Return the images that ours are made from, and those of the stores. Raises `CannotStart` without them."""
    try:
        return await report.step("base images", lambda: find_images(run, project_name(), cache))
    except Failed as error:
        raise CannotStart(f"there are no base images: {error}") from None


if __name__ == "__main__":
    main()
