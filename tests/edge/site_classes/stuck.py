"""A worker that hangs in C and keeps the interpreter's lock: no signal handler and no thread of its own runs."""

import re
from pathlib import Path

from richmond.workers.base import RichmondWorker


class Stuck(RichmondWorker):
    def setup_worker(self):
        Path(self.options["mark"]).touch()
        re.match(r"(a+)+$", "a" * 60 + "b")
