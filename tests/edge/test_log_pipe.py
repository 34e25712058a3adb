"""The pipe from a worker to the master, with a process at its other end; the master's part is ours."""

import contextlib
import os
import select
import subprocess
import sys

import pytest

from richmond.log_pipe import Splitter, open_pipe

MARK = "0123456789ab"
START = f"""
import os, sys, subprocess, time
from richmond import log, log_pipe
outlet = log_pipe.take_over(int(sys.argv[1]), {MARK!r})
log.setup(outlet, "info", False, "EchoWorker:0")
"""
END = "\nsys.stdout.flush(); sys.stderr.flush(); outlet.close(); os._exit(0)\n"

pytestmark = pytest.mark.timeout(60)


class Worker:
    """`code`, with its output in a pipe that we read when we want to."""

    def __init__(self, code):
        self.read_end, write = open_pipe()
        self.control, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + code + END, str(write), str(theirs)],
            pass_fds=(write, theirs),
            stdin=subprocess.PIPE,
        )
        os.close(write)
        os.close(theirs)
        self.splitter = Splitter("EchoWorker:0", MARK)
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        for fd in (self.read_end, self.control):
            with contextlib.suppress(OSError):
                os.close(fd)

    def read(self):
        """All that it says, to its end."""
        found = []
        while True:
            assert select.select([self.read_end], [], [], 30)[0], "nothing more came"
            data = os.read(self.read_end, 65536)
            if not data:
                return [*found, *self.splitter.end(1.0)]
            found += self.splitter.feed(data, 1.0)

    def read_what_is_there(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self.splitter.feed(os.read(self.read_end, 65536), 1.0)
        return found

    def wait_for_word(self, word=b"."):
        """What the code writes to its second argument."""
        assert select.select([self.control], [], [], 30)[0]
        assert os.read(self.control, 1) == word


TELL = "os.write(int(sys.argv[2]), b'.')\n"


def said(entries):
    return [(entry.level, entry.text) for entry in entries]


def test_what_is_printed_and_what_is_logged_comes_in_its_order_and_nothing_is_mixed_up():
    code = (
        "print('one')\nlog.msg('two\\n lines')\nprint('to stderr', file=sys.stderr)\n"
        "sys.stdout.buffer.write(b'bytes \\xff\\n'); sys.stdout.flush()\n"
        "print('half', end='', flush=True)\nlog.err('an error')\n"
        "subprocess.run(['echo', 'from a program'], check=True)\n"
        "os.write(2, b'from C\\r\\n')\nprint('no newline at the end', end='')"
    )
    with Worker(code) as worker:
        entries = worker.read()
    assert said(entries) == [
        ("OUTPUT", "one"), ("INFO", "two\n lines"), ("OUTPUT", "to stderr"), ("OUTPUT", "bytes \\xff"),
        ("OUTPUT", "half"), ("ERROR", "an error"), ("OUTPUT", "from a program"), ("OUTPUT", "from C"),
        ("OUTPUT", "no newline at the end"),
    ]  # fmt: skip
    assert [entry.at == 1.0 for entry in entries] == [level == "OUTPUT" for level, _ in said(entries)]


def test_what_looks_like_a_record_and_does_not_know_the_mark_is_a_printed_line():
    forged = '\\x1e0123456789a[1.0,"ERROR","forged",0]'
    with Worker(f"print('{forged}')\nprint('\\x1e')") as worker:
        assert said(worker.read()) == [("OUTPUT", forged.replace("\\x1e", "\x1e")), ("OUTPUT", "\x1e")]


def test_a_traceback_of_a_thread_and_the_stacks_of_faulthandler_come_too():
    code = (
        "import faulthandler, threading\nthread = threading.Thread(target=lambda: 1 / 0); thread.start()\n"
        "thread.join()\nfaulthandler.dump_traceback()"
    )
    with Worker(code) as worker:
        texts = [text for _, text in said(worker.read())]
    assert "ZeroDivisionError: division by zero" in texts
    assert any(text.startswith("Current thread 0x") for text in texts)


def test_nobody_who_prints_or_logs_waits_long_for_a_master_that_does_not_read():
    code = (
        "for n in range(20_000): print(f'{n:06}', 'x' * 100)\n"  # 2 MB into a pipe of 256 KiB
        "for n in range(1_000): log.msg('record', n)\n" + TELL + "sys.stdin.read()\n"
    )
    with Worker(code) as worker:
        worker.wait_for_word()  # nobody has read: it has come to the end of its work all the same
        entries = worker.read_what_is_there()
        worker.process.stdin.close()
        entries += worker.read()
    notices = [text.split(" ", 1) for level, text in said(entries) if level == "WARNING"]
    assert {words for _, words in notices} == {"lines of output are lost: nobody read them in time"}
    assert sum(int(count) for count, _ in notices) == worker.splitter.lost
    assert len(entries) - len(notices) + worker.splitter.lost == 21_000
    numbers = [int(text[:6]) for level, text in said(entries) if level == "OUTPUT"]
    assert numbers[:1000] == list(range(1000))
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 3_000


def test_a_line_that_got_into_the_pipe_in_part_is_not_continued_by_the_next():
    code = "sys.stdout.write('y' * 1_000_000 + '\\n')\n" + TELL + "sys.stdin.read()\nlog.msg('next'); print('last')"
    with Worker(code) as worker:
        worker.wait_for_word()
        entries = worker.read_what_is_there()
        worker.process.stdin.close()
        entries += worker.read()
    texts = [text for _, text in said(entries)]
    assert {*texts[0]} == {"y"}
    assert texts[-3:] == ["1 lines of output are lost: nobody read them in time", "next", "last"]
    assert {*texts[-4]} == {"y"}


def test_a_burst_larger_than_the_pipe_gets_through_to_a_master_that_reads():
    with Worker("for n in range(20_000): print(f'{n:06}', 'x' * 100)") as worker:
        entries = worker.read()
    assert [int(entry.text[:6]) for entry in entries] == list(range(20_000))


def test_a_line_of_10_mb_is_cut_into_lines_that_fit():
    with Worker("sys.stdout.write('y' * 10_000_000 + '\\nnext\\n')") as worker:
        texts = [text for _, text in said(worker.read())]
    assert texts[-1] == "next"
    assert sum(map(len, texts[:-1])) == 10_000_000
    assert max(map(len, texts)) < 400_000


def test_a_very_long_record_loses_its_middle():
    with Worker("log.msg('a' * 50_000 + 'b' * 50_000)") as worker:
        ((_, text),) = said(worker.read())
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert len(text) < 61_000


def test_a_program_that_a_handler_starts_waits_for_the_master_and_loses_nothing():
    code = "done = subprocess.run(['seq', '1', '200000']); print('exit', done.returncode)"
    with Worker(code) as worker:
        entries = worker.read()
    assert [entry.text for entry in entries] == [*map(str, range(1, 200_001)), "exit 0"]


def test_printing_goes_on_when_the_master_has_died(tmp_path):
    code = (
        TELL + "import pathlib\n"
        "sys.stdin.read()\n"  # until the reading end has gone
        "for n in range(100): print('to nobody')\nlog.msg('nor this')\n"
        "path = pathlib.Path('PATH')\nlog.go_on_in(path, False)\n"
        "print('printed'); log.msg('logged'); subprocess.run(['echo', 'from a program'])\n"
        "assert log.dropped() == 0, log.dropped()\n"
    )
    with Worker(code.replace("PATH", str(tmp_path / "richmond.log"))) as worker:
        worker.wait_for_word()
        os.close(worker.read_end)
        worker.read_end = -1
        worker.process.communicate(timeout=30)
        assert worker.process.returncode == 0
    printed, logged, program = (tmp_path / "richmond.log").read_text().splitlines()
    assert (printed, program) == ("printed", "from a program")
    assert logged.endswith("INFO    EchoWorker:0  logged")
