"""Reading the log's files while they grow and are rotated, and `richmond logs` itself."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from richmond.log_lines import Entry, to_json, to_text
from richmond.log_reader import BLOCK_BYTES, Tail

AT = 1769854800.0


def entry(number, process="EchoWorker:0", text=None):
    return Entry(AT + number, "INFO", process, text or f"line {number}")


def write(path, *entries, render=to_text):
    with path.open("a") as file:
        file.write("".join(map(render, entries)))


def rotate(path, backups=5):
    for number in range(backups - 1, 0, -1):
        old = path.with_name(f"{path.name}.{number}")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def everybody(_):
    return True


@pytest.fixture
def log(tmp_path):
    return tmp_path / "richmond.log"


def last(log, count=None, since=None, wanted=everybody):
    with Tail(log) as tail:
        return tail.last(wanted, count, since)


def test_the_last_lines_are_found_over_all_files(log):
    everything = [entry(number) for number in range(30)]
    for start in (0, 10, 20):
        if start:
            rotate(log)
        write(log, *everything[start : start + 10])
    assert last(log) == everything
    assert last(log, 15) == everything[15:]
    assert last(log, 0) == []
    assert last(log, since=AT + 17) == everything[17:]
    assert last(log, 2, AT + 17) == everything[28:]
    assert last(log, 1, wanted=lambda e: e.text == "line 3") == [everything[3]]


def test_records_of_many_lines_and_any_length_are_whole(log):
    everything = [
        entry(1, text="one\n  two\n\nfour"), entry(2), entry(3, text="x" * (3 * BLOCK_BYTES)),
        entry(4, text="y\n" * BLOCK_BYTES + "z"), entry(5, text="end\n"),
    ]  # fmt: skip
    write(log, *everything)
    assert last(log) == everything
    assert last(log, 2) == everything[3:]


@pytest.mark.parametrize("shift", range(-3, 4))
def test_it_does_not_matter_where_blocks_begin(log, shift):
    filler = entry(1, text="x" * (BLOCK_BYTES - 2 * len(to_text(entry(2, text="a\nb"))) + shift))
    everything = [entry(0), filler, entry(2, text="a\nb"), entry(3, text="a\nb")]
    write(log, *everything)
    assert last(log) == everything


def test_json_and_text_may_follow_one_another_and_what_is_neither_is_left_out(log):
    write(log, entry(1))
    write(log, entry(2, text="a\nb"), render=to_json)
    with log.open("a") as file:
        file.write("no line of ours\n\n")
    write(log, entry(3))
    with log.open("a") as file:
        file.write(to_text(entry(4))[:30])  # still being written
    assert last(log) == [entry(1), entry(2, text="a\nb"), entry(3)]


def test_a_line_that_stands_a_little_after_its_time_is_found(log):
    write(log, entry(100), entry(50), entry(101))
    assert last(log, since=AT + 99) == [entry(100), entry(101)]


def test_what_is_added_is_told_once_and_whole(log):
    write(log, entry(1))
    with Tail(log) as tail:
        assert tail.more() == []
        write(log, entry(2), entry(3, text="a\nb"))
        with log.open("a") as file:
            file.write(to_text(entry(4))[:30])
        assert tail.more() == [entry(2), entry(3, text="a\nb")]
        with log.open("a") as file:
            file.write(to_text(entry(4))[30:])
        assert tail.more() == [entry(4)]
        assert tail.more() == []


def test_a_half_line_that_was_there_at_first_is_told_when_it_is_whole(log):
    write(log, entry(1))
    with log.open("a") as file:
        file.write(to_text(entry(2))[:30])
    with Tail(log) as tail:
        assert tail.last(everybody, None, None) == [entry(1)]
        with log.open("a") as file:
            file.write(to_text(entry(2))[30:])
        assert tail.more() == [entry(2)]


def test_rotations_are_followed_however_many_there_were_between_two_looks(log):
    write(log, entry(1))
    with Tail(log) as tail:
        write(log, entry(2))
        rotate(log)
        write(log, entry(3))
        assert tail.more() == [entry(2), entry(3)]
        for number in (4, 5, 6):
            write(log, entry(number))
            rotate(log)
        write(log, entry(7))
        assert tail.more() == [entry(number) for number in (4, 5, 6, 7)]


def test_a_rotation_between_the_opening_and_the_first_look_doubles_nothing(log):
    write(log, entry(1))
    rotate(log)
    write(log, entry(2))
    with Tail(log) as tail:
        rotate(log)
        write(log, entry(3))
        assert tail.last(everybody, None, None) == [entry(1), entry(2)]
        assert tail.more() == [entry(3)]


def test_a_file_that_was_removed_or_comes_later_is_followed(log):
    with Tail(log) as tail:
        assert not tail.exists
        assert tail.last(everybody, 10, None) == tail.more() == []
        write(log, entry(1))
        assert tail.more() == [entry(1)]
        log.unlink()
        assert tail.more() == []
        write(log, entry(2))
        assert tail.more() == [entry(2)]


# The command.


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "richmond.ini"
    path.write_text("[richmond]\ndirectory = .\n[worker:EchoWorker]\n[worker:Other]\nclass = o.Other\ncodes = *1#\n")
    return path


def command(ini, *args):
    return [sys.executable, "-m", "richmond", "logs", "-c", str(ini), *args]


def run(ini, *args):
    return subprocess.run(command(ini, *args), capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def following(ini, *args):
    with subprocess.Popen(command(ini, "-f", *args), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_class_and_a_worker_can_be_picked(ini, log):
    write(log, entry(1), entry(2, "EchoWorker:1"), entry(3, "master"), entry(4, "Other:0"))
    write(log.with_name("richmond.Other.log"), entry(5, "Other:0"))

    def numbers(*args):
        done = run(ini, *args)
        assert done.returncode == 0, done.stderr
        return [int(line[-1]) for line in done.stdout.splitlines()]

    assert numbers() == [1, 2, 3, 4, 5]
    assert numbers("EchoWorker") == [1, 2]
    assert numbers("EchoWorker:1") == [2]
    assert numbers("Other") == [4, 5]
    assert numbers("master") == [3]
    assert numbers("-n", "2") == [4, 5]
    assert numbers("--since", "2020-01-01", "EchoWorker") == [1, 2]
    assert numbers("--since", "1s") == []


def test_without_a_count_the_last_hundred_are_shown_and_all_since_a_moment(ini, log):
    write(log, *map(entry, range(150)))
    assert len(run(ini).stdout.splitlines()) == 100
    assert len(run(ini, "--since", "2020-01-01").stdout.splitlines()) == 150


def test_json_is_json_whatever_is_in_the_files(ini, log):
    write(log, entry(1, text="a\nb"))
    write(log, entry(2), render=to_json)
    found = [json.loads(line) for line in run(ini, "--json").stdout.splitlines()]
    assert [(f["class"], f["slot"], f["text"]) for f in found] == [
        ("EchoWorker", 0, "a\nb"),
        ("EchoWorker", 0, "line 2"),
    ]


def test_text_is_text_whatever_is_in_the_files(ini, log):
    write(log, entry(2), render=to_json)
    assert run(ini).stdout == to_text(entry(2))


def test_it_follows_over_a_rotation_until_ctrl_c(ini, log):
    write(log, entry(1), entry(2, "Other:0"))
    with following(ini, "EchoWorker") as process:
        assert process.stdout.readline() == to_text(entry(1))
        rotate(log)
        write(log, entry(3), entry(4, "Other:0"), entry(5))
        assert process.stdout.readline() == to_text(entry(3))
        assert process.stdout.readline() == to_text(entry(5))
        write(log.with_name("richmond.EchoWorker.log"), entry(6))  # log-files = per-class from now on
        assert process.stdout.readline() == to_text(entry(6))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_it_may_wait_for_a_log_that_is_not_there_yet(ini, log):
    with following(ini) as process:
        write(log, entry(1))
        assert process.stdout.readline() == to_text(entry(1))


@pytest.mark.parametrize(
    ("args", "words", "code"),
    [
        ((), "is not there: has richmond ever run?", 1),
        (("Ecko",), "no worker class Ecko; there are: EchoWorker, Other; and master, spawner, hook", 2),
        (("EchoWorker:x",), "say e.g. EchoWorker:0", 2),
        (("--since", "soon"), "is no moment", 2),
    ],
)
def test_what_cannot_be_is_explained(ini, args, words, code):
    done = run(ini, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_where_the_log_is_standard_error_it_says_so(ini):
    ini.write_text("[richmond]\nlog = stderr\n[worker:EchoWorker]\n")
    done = run(ini)
    assert done.returncode == 2
    assert "journalctl" in done.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(ini, log):
    write(log, *map(entry, range(20_000)))
    with subprocess.Popen(command(ini, "-n", "20000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        p.stdout.readline()
        p.stdout.close()
        assert p.stderr.read() == ""
