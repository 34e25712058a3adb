"""Locks for a few lines that never wait for anything."""

from __future__ import annotations

import sys
import threading


def short_lock() -> threading.Lock:
    """Not for anything that may switch greenlets while it is held.

    After gevent's monkey patching it is the system's lock all the same: between greenlets nobody ever waits for it,
    and it costs half of gevent's, several times a message.
    """
    monkey = sys.modules.get("gevent.monkey")
    lock: threading.Lock = monkey.get_original("_thread", "allocate_lock")() if monkey else threading.Lock()
    return lock
