"""The dead-letter queue at RabbitMQ: letters are looked at and stay, or are settled one by one.

A letter that was delivered and not acknowledged belongs to RabbitMQ: when this process ends, however it does, the
letter is back in its place. So reading changes nothing. `drop` acknowledges; `retry` acknowledges once RabbitMQ has
confirmed the copy in the other queue.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from richmond import dead
from richmond.amqp.client import Client, LinkState
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import Topology
from richmond.errors import AMQPUnreachable, NotRunning
from richmond.rabbitmq import PrivateNode
from richmond.settings import AmqpSettings, Settings

# So many letters at most are held, of those that stay; RabbitMQ keeps them in memory meanwhile, we do not.
MOST_HELD = 10_000
_BATCH = 500  # deliveries that may wait for us in memory
_LOOK_S = 0.2  # without a delivery, after which we ask whether there are more
_TIMEOUT_S = 20.0
_GOODBYE_S = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """A letter in our hands."""

    letter: dead.Letter
    delivery: Delivery


def find(settings: Settings) -> AmqpSettings:
    """Where RabbitMQ is: yours, or the private node if it runs, be it with a master or without. Else NotRunning."""
    if not settings.rabbitmq.private:
        return settings.amqp
    node = PrivateNode(settings.richmond.directory / "rabbitmq", settings.rabbitmq.port).running()
    if node is None:
        raise NotRunning(
            f"no RabbitMQ: {settings.path} has a private node, which runs while richmond start does; "
            "the dead letters are kept: start that, and ask again"
        )
    return node.apply(settings.amqp)


@contextlib.contextmanager
def alone(ini: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One at a time with this ini: each would see only what the other does not hold."""
    with ini.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class DeadQueue:
    """A context; everything that was not settled is back in its place after it. AMQPError when RabbitMQ is away.

    `total`: letters that were there at first. `strangers`: consumers that other programs have on the queue.
    """

    def __init__(self, amqp: AmqpSettings, most_held: int = MOST_HELD) -> None:
        self.name = amqp.dead_queue
        self._most_held = most_held
        self.seen = 0
        self._kept = 0  # of these: neither dropped nor retried
        self._stopped = False
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()  # None: look what has changed
        self._results: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lost: LinkState | None = None
        # Nothing is declared: where the queue does not exist, there is no dead letter.
        self._client = Client(amqp, name="richmond dead", topology=Topology((), ()), on_state=self._on_state)

    def __enter__(self) -> DeadQueue:
        try:
            self.total, self.strangers = self._depth()
            self._client.start()
            if not self._client.wait_up(_TIMEOUT_S):
                raise AMQPUnreachable(self._client.state.error or "RabbitMQ does not answer")
        except BaseException:
            self._client.close(0)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close(0 if self._lost else _GOODBYE_S)
        if error is None:
            self._check()

    @property
    def unseen(self) -> int:
        """Letters that were there at first, and not looked at."""
        return max(0, self.total - self.seen)

    @property
    def full(self) -> bool:
        """We hold so many that stay that we may not look at more."""
        return self._kept >= self._most_held

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Let `letters` end; what is being retried is finished. May be called by a signal handler."""
        self._stopped = True
        self._deliveries.put(None)

    def letters(self) -> Iterator[Held]:
        """Those that were there at first, the oldest first; ends early with `most_held` that were not settled.

        What comes meanwhile is not among them, such as a letter that was retried and has died again.
        """
        while self.unseen and not self.full and not self._stopped:
            batch = min(_BATCH, self.unseen, self._most_held - self._kept)
            # What was delivered to the consumer before does not count for the prefetch of this one.
            self._client.consume(self.name, batch, self._deliveries.put)
            for _ in range(batch):
                delivery = self._take()
                if delivery is None:
                    return
                self.seen += 1
                self._kept += 1
                yield Held(dead.letter(delivery.body, delivery.headers), delivery)
            self._client.cancel(self.name, _TIMEOUT_S)

    def drop(self, held: Held) -> None:
        self._kept -= 1
        self._client.ack(held.delivery)

    def retry(self, held: Held, to: str) -> str | None:
        """Into the queue `to`. None if it went there and is a dead letter no more, else RabbitMQ's reason.

        That is "unroutable" where there is no such queue.
        """
        self._client.publish(
            "",
            to,
            held.letter.body,
            headers=dead.retry_headers(held.letter),
            on_done=partial(self._confirmed, held.delivery),
        )
        try:
            result = self._results.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise AMQPUnreachable(self._client.state.error or f"RabbitMQ does not confirm what goes to {to}") from None
        self._check()
        self._kept -= result is None
        return result

    def _take(self) -> Delivery | None:
        """The next one; None if nothing is left, since others took it, or if we are to stop."""
        while not self._stopped:
            try:
                delivery = self._deliveries.get(timeout=_LOOK_S)
            except queue.Empty:
                if not self._depth()[0]:
                    self._client.cancel(self.name, _TIMEOUT_S)  # what was on its way is there then
                    with contextlib.suppress(queue.Empty):
                        return self._deliveries.get_nowait()
                    return None
            else:
                self._check()
                if delivery is not None:
                    return delivery
        return None

    def _depth(self) -> tuple[int, int]:
        return self._client.depths([self.name]).get(self.name, (0, 0))

    def _check(self) -> None:
        if self._lost is not None:
            raise AMQPUnreachable(self._lost.error)

    # From the client's threads.

    def _confirmed(self, delivery: Delivery, result: str | None) -> None:
        """Nothing that happens to the main thread can come between this and the acknowledgement."""
        if result is None:
            self._client.ack(delivery)
        self._results.put(result)

    def _on_state(self, state: LinkState) -> None:
        """A connection that comes back brings the same letters once more: we end with the first."""
        if state.name in ("down", "refused"):
            self._lost = state
            self._deliveries.put(None)
            self._results.put("lost")
