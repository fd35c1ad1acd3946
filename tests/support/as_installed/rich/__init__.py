"""Hides the package rich. structlog imports it if it is installed, but it is not a dependency of orderflow."""

raise ModuleNotFoundError("rich is not among orderflow's packages", name="rich")
