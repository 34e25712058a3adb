"""Which runtime a worker has: what [otel] needs is imported only where it is on."""

from __future__ import annotations

from richmond.supervisor.jobs import WorkerJob
from richmond.workers.runtime import Runtime


def runtime_of(job: WorkerJob) -> type[Runtime]:
    """ImportError if the packages for [otel] are not there."""
    if job.otel is None:
        return Runtime
    from richmond.workers.traced import TracedRuntime

    return TracedRuntime
