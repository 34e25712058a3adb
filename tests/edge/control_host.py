"""The control socket in a process of its own: `python control_host.py SOCKET IDLE_S`.

Events are real; `scale CLASS N` tells N of them, `restart` uses up all descriptors for as long as the file `full` is
beside the socket, and `reload` waits for ever.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import os
import sys
from pathlib import Path

import gevent

from richmond import log
from richmond.supervisor import protocol
from richmond.supervisor.control import ControlServer
from richmond.supervisor.event_feed import EventFeed


def main() -> None:
    path = Path(sys.argv[1])
    log.setup(path.with_name("host.log"), "info", False)
    feed = EventFeed(None, None)  # nobody looks at links and counters

    def tell(count):
        for number in range(count):
            feed.tell("scale", f"event {number} {'x' * 200}", count=number)
        return {"ok": True}

    def no_descriptors():
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            log.msg("no descriptor is left")
        while path.with_name("full").exists():
            gevent.sleep(0.01)
        for fd in taken:
            os.close(fd)
        return {"ok": True}

    def handle(request):
        match request:
            case protocol.Ping():
                return {"ok": True, "pid": os.getpid(), "followers": len(feed._readers)}
            case protocol.Scale(_, count):
                return tell(count)
            case protocol.Restart():
                return no_descriptors()
            case protocol.Reload():
                gevent.sleep(1e6)
            case protocol.Events():
                return feed.answer(request)
            case protocol.Stop():
                feed.stop()
                return {"ok": True}
        raise AssertionError(request)

    server = ControlServer(path, handle, idle_s=float(sys.argv[2]))
    server.start()
    gevent.get_hub().join()


if __name__ == "__main__":
    main()
