"""The project's folders on this machine: in the checkout if there is one, else in the current folder."""

from pathlib import Path


def project_root() -> Path:
    """Return the checkout's folder, or the current folder when the package runs from an installed wheel."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def shipped_directory(name: str, in_checkout: str) -> Path:
    """Return a folder that is shipped with the program: `name` in the installed wheel, else `in_checkout`.

    It does not look in the current folder of an installed program, which may belong to another project.
    """
    shipped = Path(__file__).parents[1] / "assets" / name
    return shipped if shipped.is_dir() else project_root() / in_checkout


def services_directory() -> Path:
    """Return the folder that holds the embedded services' data, logs and downloads."""
    return project_root() / ".services"


def cache_directory() -> Path:
    """Return the folder of downloads that all sets of embedded services share."""
    return services_directory() / "cache"
