"""Chooses the account that runs PostgreSQL, which refuses to run as root."""

import functools
import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path

import attrs

from orderflow.exits import CannotStart

_MAP_ROOT_AWAY = ("--user", "--map-user=1000", "--map-group=1000")


@attrs.frozen
class Account:
    """How to start a program without root privileges: with a prefix command, or with another user's ids."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None


@functools.cache
def _unshare() -> tuple[str, ...]:
    """Return the command that maps root to user 1000 in a user namespace; empty if the kernel does not allow it."""
    program = shutil.which("unshare")
    if program is None:
        return ()
    command = (program, *_MAP_ROOT_AWAY)
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotStart("PostgreSQL refuses to run as root and there is no user 'nobody': run this as another user")


def account_for(directory: Path, program: Path) -> Account:
    """Return the account for `program`, whose data is in `directory` (which must exist).

    For root it is a user namespace if the kernel allows it, because that needs no access rights to the parent folders.
    Otherwise it is the user `postgres` or `nobody`, who becomes the owner of `directory`. Raises `CannotStart` when
    that user cannot reach the folder.
    """
    if os.geteuid() != 0:
        return Account()
    if prefix := _unshare():
        return Account(prefix=prefix)
    user = _unprivileged()
    for path, mode in ((program, "-x"), (directory.parent, "-x")):
        reached = subprocess.run(
            ["test", mode, str(path)], user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", check=False
        )
        if reached.returncode:
            raise CannotStart(
                f"PostgreSQL refuses to run as root and the user {user.pw_name!r} cannot reach {path}: "
                f"run this as another user, or give others access to the parent folders (chmod o+x)"
            )
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return Account(user=user.pw_uid, group=user.pw_gid)


def check_owner(data: Path, account: Account) -> None:
    """Raise `CannotStart` when `data` does not belong to the user who runs PostgreSQL: it would refuse to start."""
    owner, runner = data.stat().st_uid, os.geteuid() if account.user is None else account.user
    if owner != runner:
        raise CannotStart(
            f"{data} belongs to the user {_name(owner)}, and PostgreSQL would run as {_name(runner)}: "
            f"run this as {_name(owner)}, or change its owner (chown -R {_name(runner)} {shlex.quote(str(data))})"
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
