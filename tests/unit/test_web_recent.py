"""What is made once, however many ask at the same time."""

import gevent
from gevent.event import Event

from richmond.web.recent import Recent


def test_whoever_asks_while_it_is_made_gets_the_same_one():
    made, go = [], Event()

    def make():
        made.append(len(made))
        go.wait()
        return made[-1]

    recent = Recent(make)
    asking = [gevent.spawn(recent) for _ in range(5)]
    gevent.sleep(0)
    assert made == [0]
    go.set()
    gevent.joinall(asking, raise_error=True)
    assert {greenlet.value for greenlet in asking} == {0}


def test_a_failure_is_not_kept():
    outcomes = [RuntimeError("no"), "yes"]

    def make():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    recent = Recent(make)
    try:
        recent()
    except RuntimeError:
        assert recent() == "yes"
