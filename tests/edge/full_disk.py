"""A full disk, as far as one process can have one for itself."""

import contextlib
import resource


@contextlib.contextmanager
def files_no_larger_than(limit, pid=0):
    """A write of this process's, or of that with `pid`, beyond that many bytes of a file fails."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, most))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its files are full no more
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
