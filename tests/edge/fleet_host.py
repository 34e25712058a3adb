"""A process that does with the spawner what the master does: `python fleet_host.py FD BOARD ROWS [gevent]`.

Driven by packets. Apart from the tests' own process because it is killed, adopts orphans, and may be monkey-patched.
"""

import sys

if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import contextlib
import socket

from richmond import linux
from richmond.scoreboard import Scoreboard
from richmond.supervisor import jobs
from richmond.supervisor.processes import Spawner


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.setblocking(True)
    linux.become_subreaper()
    board = Scoreboard.attach(int(sys.argv[2]), int(sys.argv[3]))

    def tell(event: jobs.Event) -> None:
        with contextlib.suppress(BrokenPipeError):  # the test has seen enough
            channel.send(jobs.encode(event))

    spawner = Spawner(board, tell)
    spawner.start()
    while packet := channel.recv(jobs.MAX_PACKET_BYTES):
        if packet == b"start":
            spawner.start()
            continue
        order = jobs.decode_order(packet)
        if isinstance(order, jobs.Spawn):
            spawner.spawn(order.job)
        else:
            spawner.kill(order.slot, order.pid, order.signal)
    spawner.close(2)


if __name__ == "__main__":
    main()
