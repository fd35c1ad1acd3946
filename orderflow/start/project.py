"""Where the project is on this machine: the checkout when there is one, else the current folder."""

from pathlib import Path


def project_root() -> Path:
    """Return the checkout's folder, or the current folder when the package runs from an installed wheel."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def shipped_directory(name: str, in_checkout: str) -> Path:
    """Return a folder that comes with the program: the installed wheel's `name`, else the checkout's.

    What has the same name in the current folder may be another project's.
    """
    shipped = Path(__file__).parents[1] / "assets" / name
    return shipped if shipped.is_dir() else project_root() / in_checkout


def services_directory() -> Path:
    """Return the folder that holds the embedded services' data, logs and downloads."""
    return project_root() / ".services"


def cache_directory() -> Path:
    """Return the folder for what is downloaded or built once and shared by every set of embedded services."""
    return services_directory() / "cache"
