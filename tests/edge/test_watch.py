"""Workers as the master sees them from outside."""

import os
import signal
import socket

import psutil
import pytest
from fleet import Fleet, make_amqp, make_job, wait_until

from richmond.supervisor import jobs, watch
from richmond.supervisor.lifecycle import Slot

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def worker():
    """A fleet with one worker that takes turns, waiting for a RabbitMQ that does not answer; and its slot."""
    with socket.socket() as closed, Fleet() as fleet:
        closed.bind(("127.0.0.1", 0))
        fleet.spawn(make_job(amqp=make_amqp(closed.getsockname()[1]), liveness_interval_s=0.05))
        pid = fleet.expect(jobs.Forked).pid
        yield fleet, Slot("EchoWorker:0", 0, 0, 1, 0.0, pid=pid)


def look(worker):
    fleet, slot = worker
    return watch.look(fleet.board, [slot]).get(slot.name)


def test_an_idle_worker_takes_turns_and_a_stopped_one_does_not(worker):
    turns = set()

    def turn():
        turns.add(look(worker) and look(worker).last_turn)
        return len(turns) > 5

    wait_until(turn, "five turns")
    pid = worker[1].pid
    os.kill(pid, signal.SIGSTOP)
    seen = wait_until(lambda: (found := look(worker)).stopped and found, "it to be stopped")
    assert abs(seen.memory_bytes - psutil.Process(pid).memory_info().rss) < 1 << 20
    assert (seen.pid, seen.began_at, seen.done) == (pid, None, 0)
    assert look(worker) == seen
    os.kill(pid, signal.SIGCONT)
    assert wait_until(lambda: look(worker).last_turn > seen.last_turn, "it to go on")
    assert not look(worker).stopped


def test_who_has_gone_or_has_the_row_of_another_is_not_seen(worker):
    fleet, slot = worker
    wait_until(lambda: look(worker), "it to begin")
    other = Slot("EchoWorker:1", 1, 0, 1, 0.0, pid=os.getpid())
    nobody = Slot("EchoWorker:2", 2, 5, 1, 0.0)
    assert watch.look(fleet.board, [slot, other, nobody]).keys() == {slot.name}
    fleet.kill(slot.name, slot.pid, signal.SIGKILL)
    fleet.expect(jobs.Exited)
    assert look(worker) is None
