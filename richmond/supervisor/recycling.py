"""When a worker has served for long enough, or has grown too big, and a fresh one takes its place. Pure.

Not a cure: it keeps a class that leaks alive until somebody mends it.
"""

from __future__ import annotations

from richmond.settings import WorkerSettings
from richmond.supervisor.liveness import Look

JITTER = 0.1  # taken off the limits at most, so that workers that began together do not all leave together

_MB = 1 << 20


def worn_out(look: Look, ready_since: float, now: float, spec: WorkerSettings, draw: float) -> str:
    """Why the worker is to drain and to be replaced; empty: it is not.

    `ready_since`, `now`: monotonic. `draw`: 0 to 1, drawn once for each worker.
    """
    share = 1.0 - JITTER * draw
    if spec.max_messages and look.done >= spec.max_messages * share:
        return f"{look.done} messages handled (max-messages = {spec.max_messages})"
    if spec.max_age_s and now - ready_since >= spec.max_age_s * share:
        return f"{now - ready_since:.0f} s old (max-age = {spec.max_age_s:g})"
    if spec.max_memory and look.memory_bytes >= spec.max_memory * share:
        return f"{look.memory_bytes // _MB} MB of memory (max-memory = {spec.max_memory // _MB}M)"
    return ""


def too_big(look: Look, spec: WorkerSettings) -> str:
    """Why the worker is to be killed before it harms the host; empty: it is not."""
    if spec.max_memory_hard and look.memory_bytes >= spec.max_memory_hard:
        return f"{look.memory_bytes // _MB} MB of memory (max-memory-hard = {spec.max_memory_hard // _MB}M)"
    return ""
