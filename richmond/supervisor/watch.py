"""What can be seen of worker processes from outside: their rows of the scoreboard, and /proc."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from richmond.scoreboard import Scoreboard
from richmond.supervisor.lifecycle import Slot
from richmond.supervisor.liveness import Look

_STATE, _RSS_PAGES = 0, 21  # proc(5): fields of stat behind the command's name


def look(board: Scoreboard, slots: Iterable[Slot]) -> dict[str, Look]:
    """Slot -> its worker; without those that have gone, or not begun."""
    found = {}
    for slot in slots:
        reading = board.row(slot.row).read()
        with suppress(OSError):
            # An unreaped child, so that its pid is nobody else's.
            state, memory_bytes = _process(slot.pid or 0)
            if reading.pid == slot.pid:
                done = reading.handled + reading.failed
                open_ = done - reading.answered - reading.unanswered - reading.dead_lettered
                held = open_ + reading.waiting + (reading.began_at is not None)
                found[slot.name] = Look(
                    reading.pid, reading.last_turn, reading.began_at, done, state == "T", memory_bytes, held
                )
    return found


def _process(pid: int) -> tuple[str, int]:
    """State and resident bytes. OSError if there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[_STATE], int(fields[_RSS_PAGES]) * mmap.PAGESIZE
