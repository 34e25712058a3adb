"""What a master needs before it can run: directories, the log, enough descriptors."""

from __future__ import annotations

import contextlib
import resource

from richmond.errors import InstallationError
from richmond.log_files import LogFiles
from richmond.settings import RichmondSettings, Settings

_FDS_OF_OUR_OWN = 512  # sockets, files, the control socket's clients


def prepare(settings: Settings) -> LogFiles:
    """Make the directories that the ini names, and open the log. InstallationError if that cannot be."""
    places = settings.richmond
    files = [places.pid_file, places.socket, settings.simulator.socket, *([places.log] if places.log else [])]
    try:
        for directory in {places.directory, *(file.parent for file in files)}:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        logs = LogFiles(places)
    except OSError as e:
        raise InstallationError(
            f"{e.filename}: {e.strerror}; make it writable, or set directory in [richmond] of {settings.path}"
        ) from e
    _allow_descriptors(places)
    return logs


def _allow_descriptors(places: RichmondSettings) -> None:
    """A pipe for each worker, and its successor's while that takes over. The usual limit of 1024 does for 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * places.max_workers + _FDS_OF_OUR_OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then those that get none speak through the spawner
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
