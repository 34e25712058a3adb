"""A master's heart in a process of its own: `python heart_host.py`. Each line of its input breaks or heals something.

loop (does not turn), greenlet (one that is needed ends), links (do not turn); heal heals the first and the last.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import os
import sys

import gevent
from gevent.fileobject import FileObjectThread
from gevent.queue import Queue

from richmond import log
from richmond.sd_notify import Notifier
from richmond.supervisor.heartbeat import Heartbeat


class Links:
    """In place of the services: what may be stuck is theirs to say."""

    broken = ""

    def stuck(self):
        return self.broken


def main() -> None:
    log.setup(None, "info", False)
    links, inbox, turning = Links(), Queue(), gevent.event.Event()
    turning.set()
    needed = gevent.spawn(gevent.sleep, 1e6)

    def loop():
        while True:
            pulse = inbox.get()
            turning.wait()
            pulse.turned()

    gevent.spawn(loop)
    notifier = Notifier(os.environ)
    assert "NOTIFY_SOCKET" not in os.environ
    heart = Heartbeat(notifier, links)
    heart.start(inbox.put, lambda: gevent.sleep(1e6), [needed])  # nobody asks for the status
    print("started", flush=True)
    for line in FileObjectThread(sys.stdin):
        match line.strip():
            case "loop":
                turning.clear()
            case "greenlet":
                needed.kill()
            case "links":
                links.broken = "the gateway of default"
            case "heal":
                turning.set()
                links.broken = ""
            case "reload":
                heart.reloading()
                heart.reloaded()
            case "up":
                heart.ready()
            case "stop":
                heart.stopping("SIGTERM")
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
