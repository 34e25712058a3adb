"""Hooks in a process of their own: `python hooks_host.py INI`.

Each line of standard input is `COUNT KIND CLASS RUNNING`. It answers with a line for each: how many events had no room
so far. At the end of its input it ends as a master does.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import os
import sys
from pathlib import Path

from gevent.fileobject import FileObjectThread

from richmond import config
from richmond.log_files import LogFiles
from richmond.supervisor.capture import Capture
from richmond.supervisor.events import Event
from richmond.supervisor.hooks import Hooks


def main() -> None:
    settings = config.load(Path(sys.argv[1]), os.environ)
    capture = Capture(LogFiles(settings.richmond), settings)
    hooks = Hooks(lambda: settings, capture, lambda why: print(f"END {why}", flush=True))
    number = 0
    for line in FileObjectThread(sys.stdin):
        count, kind, name, running = line.split()
        for _ in range(int(count)):
            number += 1
            event = Event(number=number, kind=kind, level="error", text=f"{name} ü", worker=name, count=int(running))
            hooks.on_event(event)
        print(hooks.dropped, flush=True)
    hooks.close(1.0)
    capture.close(1.0)


if __name__ == "__main__":
    main()
