"""Which deliveries of a channel are settled, and the fewest acknowledgements that tell RabbitMQ so. No I/O.

An acknowledgement costs RabbitMQ nearly as much as a message, and one with `multiple` settles all that were delivered
before it. It is used only where every one of these is settled: never over something unfinished.
"""

from __future__ import annotations


class Acks:
    """Delivery tags begin with 1 and have no gaps."""

    def __init__(self) -> None:
        self._low = 0  # this one and all before it are settled, and RabbitMQ was told
        self._done: set[int] = set()  # settled, not told
        self._told: set[int] = set()  # told one by one, above something unfinished

    def settle(self, tag: int) -> None:
        self._done.add(tag)

    def rejected(self, tag: int) -> None:
        """It was settled by a frame of its own."""
        self._told.add(tag)

    def take(self) -> list[tuple[int, bool]]:
        """What to tell now: (tag, multiple). RabbitMQ refuses a tag that it was told before, so those are left out."""
        done, told = self._done, self._told
        first, last = self._low + 1, 0
        tag = first
        while tag in done or tag in told:
            if tag in told:
                told.remove(tag)
            else:
                done.remove(tag)
                last = tag
            tag += 1
        self._low = tag - 1
        acks = [(last, last > first)] if last else []
        if done:
            acks += [(tag, False) for tag in sorted(done)]
            told |= done
            done.clear()
        return acks
