"""A minimal wheel, and a lock file for it."""

import zipfile
from hashlib import sha256
from pathlib import Path

NAME, VERSION = "next-to-nothing", "1.0"


def make_wheel(folder: Path) -> Path:
    """Write the wheel into `folder` and return its path."""
    name = f"{NAME.replace('-', '_')}-{VERSION}"
    wheel = folder / f"{name}-py3-none-any.whl"
    files = {
        f"{NAME.replace('-', '_')}.py": "",
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{name}.dist-info/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{name}.dist-info/RECORD": record}.items():
            archive.writestr(path, text)
    return wheel


def lock_of(wheel: Path) -> str:
    """Return a lock that contains only this wheel."""
    return f"{NAME}=={VERSION} \\\n    --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n"


def tampered(lock: str) -> str:
    """Return the lock with the last digit of its hash changed."""
    text = lock.rstrip("\n")
    return f"{text[:-1]}{'0' if text[-1] != '0' else '1'}\n"
