"""What a worker process may: its limits, its niceness, its umask and its user, as its section says. After the fork."""

from __future__ import annotations

import os
import pwd
import resource

from richmond.errors import InstallationError
from richmond.settings import WorkerSettings


def confine(worker: WorkerSettings) -> bool:
    """True: the user has changed, and with it the kernel has forgotten our parent-death signal.

    InstallationError, saying which key of the ini cannot be.
    """
    _limit("rlimit-nofile", resource.RLIMIT_NOFILE, worker.rlimit_nofile)
    _limit("rlimit-as", resource.RLIMIT_AS, worker.rlimit_as)
    if worker.umask:
        os.umask(int(worker.umask, 8))
    if worker.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, worker.nice)
        except OSError as e:
            raise InstallationError(f"nice = {worker.nice}: {e.strerror}; only root may be less nice") from e
    return bool(worker.user) and _become(worker.user)


def _limit(key: str, which: int, most: int | None) -> None:
    if most is None:
        return
    try:
        resource.setrlimit(which, (most, most))
    except (OSError, ValueError) as e:  # ValueError: above the hard limit, and we are not root
        hard = resource.getrlimit(which)[1]
        raise InstallationError(f"{key} = {most}: {e}; the most that this process may have is {hard}") from e


def _become(name: str) -> bool:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise InstallationError(f"user = {name}: there is no such user on this host") from None
    if user.pw_uid == os.geteuid():
        return False
    try:
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as e:
        raise InstallationError(f"user = {name}: {e.strerror}; run richmond as root, or as that user") from e
    os.environ.update(HOME=user.pw_dir, USER=name, LOGNAME=name)
    return True
