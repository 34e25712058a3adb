"""`richmond top` in a terminal, driven by keys."""

import fcntl
import re
import struct
import termios

import pytest
from installation import until
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


class Screen(Terminal):
    """What is on the screen now, and keys."""

    def __init__(self, richmond, *prefix, columns=120, lines=40):
        command = [*prefix, *richmond.command("top")]
        environ = {**richmond.environ, "COLUMNS": "33"}  # as an old shell may have left it
        super().__init__(command, richmond.directory, environ, columns, lines)

    def now(self):
        """The last frame that is whole, without colours."""
        frames = self._output.decode("utf-8", "replace").split("\x1b[H")
        text = frames[-2 if len(frames) > 2 else -1]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")

    def shows(self, *words):
        """Waits for a frame with all of them."""
        try:
            until(f"{words} on the screen", lambda: all(word in self.now() for word in words))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.now()}") from None

    def resize(self, columns, lines):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def mode(self):
        return termios.tcgetattr(self._master)[:4]


def target(richmond, number):
    return richmond.status().classes[number].target


def test_keys_select_scale_restart_sort_and_quit(richmond):
    with Screen(richmond) as screen:
        before = screen.mode()
        screen.shows("all is well", ">  EchoWorker", "EchoWorker:1", "FooBarWorker:0", "q quit", "█")
        assert screen.mode() != before
        screen.type("+")
        until("a third worker", lambda: target(richmond, 0) == 3)
        screen.shows("EchoWorker: 3 workers", "3/3 pin", "EchoWorker:2")
        screen.type("---")
        until("none", lambda: target(richmond, 0) == 0)
        screen.shows("0/0 pin")
        screen.type("-")  # there are no fewer
        screen.type("\x1b[B")
        screen.shows(">  FooBarWorker")
        pid = richmond.slot("FooBarWorker:0").pid
        screen.type("r")
        until("another process", lambda: pid not in [s.pid for c in richmond.status().classes for s in c.slots])
        screen.shows("FooBarWorker: workers are replaced one by one")
        screen.type("s")
        screen.shows("workers by CPU", "CPU*")
        screen.type("\x1b[A")
        screen.shows(">  EchoWorker")
        screen.type("+" * 100)
        screen.shows("is above")  # what the master says to that
        screen.type("q")
        assert screen.end() == 0
        assert screen.mode() == before, "the terminal is as it was"
        assert "\x1b[?1049l" in screen._output.decode(), "and shows what it showed"
        assert "Traceback" not in screen.text


def test_it_says_when_the_master_has_gone_and_goes_on_when_it_is_back(richmond):
    with Screen(richmond, columns=250) as screen:
        screen.shows("all is well", "EchoWorker:0")
        assert richmond.run("stop").returncode == 0
        richmond.wait_end()
        screen.shows("no news", "no richmond answers", "EchoWorker:0")
        until("no news", lambda: screen.now().count("start it with: richmond start") == 1)
        screen.type("+")
        until("what became of the key", lambda: screen.now().count("start it with: richmond start") == 2)
        richmond.start()
        screen.shows("all is well", f"pid {richmond.process.pid}")
        screen.type("\x03")
        assert screen.end() == 0


def test_it_may_be_there_before_the_master(install):
    richmond = install()
    with Screen(richmond) as screen:
        screen.shows("no richmond answers")
        richmond.start()
        screen.shows("all is well", "EchoWorker:0")
        screen.type("q")
        assert screen.end() == 0


def test_it_follows_the_size_of_the_terminal(richmond):
    with Screen(richmond) as screen:
        screen.shows("EchoWorker:1", "workers trend")
        screen.resize(40, 12)
        until("a small frame", lambda: len(screen.now().rstrip("\n").split("\n")) <= 12)
        screen.shows("EchoW", "more workers")
        assert all(len(line) <= 40 for line in screen.now().split("\n"))
        screen.resize(120, 40)
        screen.shows("EchoWorker:1", "all is well")
        screen.type("q")
        assert screen.end() == 0


def test_in_a_pipe_or_on_a_dumb_terminal_it_prints_one_frame_and_ends(richmond):
    done = richmond.run("top")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "EchoWorker:1" in done.stdout
    assert "q quit" not in done.stdout
    with Screen(richmond, "env", "TERM=dumb", "COLUMNS=120") as screen:
        assert screen.end() == 0
        assert "EchoWorker:1" in screen.text
        assert b"\x1b[H" not in screen._output


def test_in_a_pipe_without_a_master_it_says_so(install):
    done = install().run("top")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no richmond answers" in done.stderr
