"""structlog imports rich wherever it is installed. It is not among the packages that orderflow needs."""

raise ModuleNotFoundError("rich is not among orderflow's packages", name="rich")
