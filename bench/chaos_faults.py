"""The faults of a chaos run. Each is a function that does it, holds it and takes it back; then the run waits.

What is drawn by lot comes from the `Random` that it gets, so that a seed says all.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.chaos_world import World, control, files_no_larger_than, until


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    strike: Callable[[World, Random], None]
    of: str  # of two with the same, only one at a time
    repeats: bool  # whether somebody may do something again


FAULTS: list[Fault] = []


def fault(of: str, *, repeats: bool = True) -> Callable[[Callable[[World, Random], None]], None]:
    def add(strike: Callable[[World, Random], None]) -> None:
        FAULTS.append(Fault(strike.__name__.replace("_", "-"), strike, of, repeats))

    return add


def hold(draw: Random, shortest_s: float, longest_s: float) -> None:
    time.sleep(draw.uniform(shortest_s, longest_s))


GARBAGE = (b"\0\xff" * 40, b"SSMI,999,x", b"SSMI,110,1", b"\r\n\r\n", b"," * 100_000)

# Workers.


@fault("worker")
def kill_a_worker(world: World, draw: Random) -> None:
    for _ in range(draw.randint(1, 3)):
        pids = world.workers
        world.end(draw.sample(pids, min(len(pids), 1)))
        hold(draw, 0, 0.5)


@fault("worker")
def kill_all_workers(world: World, draw: Random) -> None:
    world.end(world.workers)


@fault("worker")
def stop_a_worker(world: World, draw: Random) -> None:
    pids = world.workers
    world.end(draw.sample(pids, min(len(pids), draw.randint(1, 2))), signal.SIGSTOP)


def _asked(wish: str, most: int) -> Callable[[World, Random], None]:
    def strike(world: World, draw: Random) -> None:
        world.gateway.asked_for.extend([wish] * draw.randint(1, most))
        until("them to be sent", lambda: not world.gateway.asked_for)

    strike.__name__ = wish
    return strike


for _wish, _most in (
    ("crash", 4), ("segfault", 2), ("halt", 1), ("spin", 2), ("lock", 2), ("doze", 8), ("leak", 2), ("hog", 1),
    ("poison", 1),
):  # fmt: skip
    fault("handler")(_asked(_wish, _most))


# The spawner.


@fault("spawner")
def kill_the_spawner(world: World, draw: Random) -> None:
    world.end(world.titled("spawner"))


@fault("spawner")
def kill_the_spawner_and_stop_a_worker(world: World, draw: Random) -> None:
    world.end(world.workers[:1], signal.SIGSTOP)
    world.end(world.titled("spawner"))


# The master.


@fault("master")
def kill_the_master(world: World, draw: Random) -> None:
    _kill_master(world)
    hold(draw, 0, 1)
    world.richmond.start(wait=False)


@fault("master")
def kill_master_and_spawner(world: World, draw: Random) -> None:
    spawners = world.titled("spawner")
    _kill_master(world)
    world.end(spawners)
    hold(draw, 0, 1)
    world.richmond.start(wait=False)


@fault("master")
def kill_master_and_spawner_with_a_worker_stopped(world: World, draw: Random) -> None:
    spawners = world.titled("spawner")
    world.end(world.workers[-1:], signal.SIGSTOP)
    _kill_master(world)
    world.end(spawners)
    world.richmond.start(wait=False)


def _kill_master(world: World) -> None:
    world.kills.append(time.monotonic())
    world.richmond.signal(signal.SIGKILL)
    world.richmond.wait_end()


@fault("master", repeats=False)
def stop_and_start_the_master(world: World, draw: Random) -> None:
    world.richmond.signal(signal.SIGTERM)
    code = world.richmond.wait_end()
    assert code == 0, f"a master that was asked to stop ended with {code}"
    world.richmond.start(wait=False)


@fault("master")
def stop_the_master_at_once(world: World, draw: Random) -> None:
    """SIGTERM, and again before it is done."""
    world.richmond.signal(signal.SIGTERM)
    hold(draw, 0, 0.3)
    world.richmond.signal(signal.SIGTERM)
    world.richmond.wait_end()
    world.richmond.start(wait=False)


@fault("master")
def freeze_the_master(world: World, draw: Random) -> None:
    with world.stopped([world.master]):
        hold(draw, 1, 6)


@fault("master", repeats=False)
def start_a_second_master(world: World, draw: Random) -> None:
    done = world.richmond.run("start")
    assert done.returncode != 0, "a second master has started"


# Changes.


@fault("ini", repeats=False)
def a_storm_of_hangups(world: World, draw: Random) -> None:
    with world.changing:
        for _ in range(draw.randint(20, 100)):
            world.write_code()
            world.hang_up()
            time.sleep(0.01)


@fault("ini", repeats=False)
def reload_with_new_code(world: World, draw: Random) -> None:
    with world.changing:
        world.write_code()
        world.richmond.run("reload")


@fault("master", repeats=False)  # one that starts meanwhile would not
def a_bad_ini(world: World, draw: Random) -> None:
    bad = draw.choice(["[worker:Answerer\n", "[worker:Other]\nworkres = 2\n", "[worker:Other]\nworkers = many\n"])
    with world.changing:
        good = world.richmond.ini.read_text()
        world.richmond.ini.write_text(good + bad)
        try:
            done = world.richmond.run("reload")
            assert done.returncode != 0, f"a bad ini was taken over: {done.stdout}"
            hold(draw, 0, 1)
        finally:
            world.richmond.ini.write_text(good)
            world.richmond.run("reload")


@fault("ini")
def code_that_cannot_be_imported(world: World, draw: Random) -> None:
    """Rolled back, or never begun. A worker that has to be started meanwhile cannot."""
    with world.changing:
        world.write_code("import no_such_module")
        world.richmond.run("reload")
        hold(draw, 0, 1)
        world.write_code()
        world.richmond.run("reload")
        world.richmond.run("restart", "Texter")


@fault("scale", repeats=False)
def scale_up_and_down(world: World, draw: Random) -> None:
    for _ in range(draw.randint(1, 4)):
        world.richmond.run("scale", draw.choice(["Answerer", "Texter"]), str(draw.randint(1, 8)))
        hold(draw, 0, 1)
    for name in ("Answerer", "Texter"):
        world.richmond.run("scale", name, "auto")


@fault("scale", repeats=False)
def restart_a_class(world: World, draw: Random) -> None:
    world.richmond.run("restart", draw.choice(["Answerer", "Texter"]))


# RabbitMQ.


@fault("rabbitmq")
def kill_rabbitmq(world: World, draw: Random) -> None:
    world.node_kills.append(time.monotonic())
    world.node.kill()
    hold(draw, 0, 3)
    world.node.start()


@fault("rabbitmq")
def restart_rabbitmq(world: World, draw: Random) -> None:
    world.node.stop()
    hold(draw, 0, 8)
    world.node.start()


@fault("rabbitmq")
def freeze_rabbitmq(world: World, draw: Random) -> None:
    world.node.signal(signal.SIGSTOP)
    try:
        hold(draw, 1, 9)  # the heartbeat is 3 s
    finally:
        world.node.signal(signal.SIGCONT)


@fault("rabbitmq")
def cut_connections_in_mid_frame(world: World, draw: Random) -> None:
    for _ in range(draw.randint(1, 4)):
        world.proxy.cut(draw.choice(["up", "down"]), draw.randint(1, 30_000))
        hold(draw, 0.2, 1)


@fault("rabbitmq")
def reset_connections(world: World, draw: Random) -> None:
    world.proxy.reset()


@fault("rabbitmq")
def a_memory_alarm(world: World, draw: Random) -> None:
    control(world.node, "set_vm_memory_high_watermark", "absolute", "1000000")
    try:
        hold(draw, 0.5, 3)
    finally:
        control(world.node, "set_vm_memory_high_watermark", "0.6")


# The gateway.


@fault("gateway")
def reset_the_link(world: World, draw: Random) -> None:
    for _ in range(draw.randint(1, 3)):
        world.resets += 1
        world.gateway.reset()
        hold(draw, 0.2, 1)


@fault("gateway")
def close_the_gateway(world: World, draw: Random) -> None:
    world.resets += 1
    world.gateway.close_down()
    try:
        hold(draw, 0.5, 4)
    finally:
        world.gateway.open()


@fault("gateway")
def a_half_open_link(world: World, draw: Random) -> None:
    world.gateway.half_open()
    until("another login", lambda: world.gateway.linked)


@fault("gateway")
def a_refused_login(world: World, draw: Random) -> None:
    right, world.gateway.password = world.gateway.password, "another"
    try:
        world.resets += 1
        world.gateway.reset()
        hold(draw, 0.5, 3)
    finally:
        world.gateway.password = right


@fault("gateway", repeats=False)
def garbage_from_the_gateway(world: World, draw: Random) -> None:
    for _ in range(draw.randint(1, 20)):
        world.gateway.say(draw.choice([*GARBAGE, draw.randbytes(200)]), b"\r")


@fault("gateway", repeats=False)
def byte_by_byte(world: World, draw: Random) -> None:
    world.gateway.stutter(draw.uniform(0.5, 2))


@fault("gateway", repeats=False)
def a_gateway_that_reads_slowly(world: World, draw: Random) -> None:
    seconds = draw.uniform(0.5, 1.5)
    world.gateway.slow_until = time.monotonic() + seconds
    time.sleep(seconds)


# The host.


@fault("disk", repeats=False)
def a_full_disk_for_the_log(world: World, draw: Random) -> None:
    log, master = world.richmond.settings.richmond.log, world.master
    if master:
        with contextlib.suppress(ProcessLookupError), files_no_larger_than(log.stat().st_size, master):
            hold(draw, 1, 4)


@fault("control", repeats=False)
def a_flood_at_the_control_socket(world: World, draw: Random) -> None:
    path = str(world.richmond.settings.richmond.socket)
    with contextlib.ExitStack() as stack:
        for n in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(1)
            try:
                client.connect(path)
                client.sendall(b"x" * 100_000 if n % 50 == 0 else b'{"op": ')
            except OSError:  # refused, or no master just now
                continue
        hold(draw, 0, 1)


@fault("host", repeats=False)
def everything_stops_for_a_while(world: World, draw: Random) -> None:
    """As in a virtual machine that is moved."""
    with world.stopped(world.richmond.processes()):
        hold(draw, 1, 4)
