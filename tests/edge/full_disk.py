"""A full disk, as far as one process can have one for itself."""

import contextlib
import resource


@contextlib.contextmanager
def files_no_larger_than(limit):
    """A write of this process's beyond that many bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
