"""/dead: which dead letters there are, and once more with them. Numbers are masked, texts left out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import bottle
import msgspec

from richmond import dead, log
from richmond.dead_queue import DeadQueue, alone
from richmond.errors import ControlError, NotRunning
from richmond.web.actions import body
from richmond.web.site import Answer, Site

MOST_SHOWN = 50
MOST_RETRIED = 1000  # with one click: the master has other things to do


class _Which(msgspec.Struct, forbid_unknown_fields=True):
    reason: str | None = None


def routes(app: bottle.Bottle, site: Site) -> None:
    def look() -> Answer:
        with _open(site) as queue:
            letters = [held.letter for held in islice(queue.letters(), MOST_SHOWN)]
            total = queue.total
        now = time.time()
        mask = None if site.settings.richmond.log_messages else log.mask
        views = [msgspec.to_builtins(dead.view(letter, now, mask)) for letter in letters]
        keys = ("id", "age_s", "reason", "worker", "kind", "msisdn", "exception", "attempts")
        return {"ok": True, "total": total, "letters": [{key: view[key] for key in keys} for view in views]}

    def retry() -> Answer:
        wanted = dead.Filter(reason=body(_Which).reason)
        done, stayed = 0, Counter[str]()
        with _open(site) as queue:
            for held in islice(queue.letters(), MOST_RETRIED):
                if not wanted.takes(held.letter, time.time()):
                    continue
                why = (
                    queue.retry(held, held.letter.queue) if held.letter.queue else "it does not say where it came from"
                )
                done += why is None
                if why:
                    stayed["its queue does not exist any more" if why == "unroutable" else why] += 1
            left = queue.unseen
        notes = [f"{done} dead letter{'' if done == 1 else 's'} went back to where they came from"]
        notes += [f"{count} stay: {why}" for why, count in stayed.items()]
        notes += [f"{left} more were not looked at: once more, or richmond dead retry --all"] if left else []
        return {"ok": True, "text": "; ".join(notes)}

    app.route("/dead", "GET", look)
    app.route("/dead/retry", "POST", retry)


@contextmanager
def _open(site: Site) -> Iterator[DeadQueue]:
    settings = site.settings
    if not settings.amqp.host:
        raise NotRunning("RabbitMQ does not run yet")
    with alone(settings.path, _busy), DeadQueue(settings.amqp, MOST_RETRIED) as queue:
        yield queue


def _busy() -> None:
    raise ControlError("somebody else looks at the dead letters just now; try again in a moment")
