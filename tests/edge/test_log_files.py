"""The log's files, with the thread that writes them: rotation, and disks that are full, gone or hang."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fleet import wait_until
from full_disk import files_no_larger_than

from richmond import log_files
from richmond.config import load
from richmond.log_files import LogFile, LogFiles
from richmond.log_lines import Entry, join, parse

AT = 1769854800.25


@pytest.fixture
def make(tmp_path):
    """Settings of an ini with more lines in [richmond], and what writes the log as they say."""
    made = []

    def settings(lines=""):
        ini = tmp_path / "richmond.ini"
        ini.write_text(f"[richmond]\ndirectory = .\n{lines}\n[worker:EchoWorker]\n")
        return load(ini, {}).richmond

    def make(lines=""):
        made.append(LogFiles(settings(lines)))
        return made[-1]

    make.settings = settings
    yield make
    for logs in made:
        logs.close(30)


def say(logs, *texts, process="master"):
    for text in texts:
        logs.put(Entry(AT, "INFO", process, text))


def entries(path):
    """Without lines that got only partly out."""
    found = [parse(record) for record in join(path.read_text().splitlines())] if path.exists() else []
    return [entry for entry in found if entry]


def texts(path):
    return [entry.text for entry in entries(path)]


def test_lines_go_to_one_file_in_their_order(make, tmp_path):
    logs = make()
    say(logs, "one", "two\nthree", process="EchoWorker:1")
    say(logs, "four")
    logs.close()
    assert [(e.process, e.text) for e in entries(tmp_path / "richmond.log")] == [
        ("EchoWorker:1", "one"), ("EchoWorker:1", "two\nthree"), ("master", "four"),
    ]  # fmt: skip


def test_each_class_has_a_file_if_the_ini_says_so(make, tmp_path):
    logs = make("log-files = per-class")
    for process in ("EchoWorker:0", "master", "Other:0", "EchoWorker:1", "spawner"):
        say(logs, f"of {process}", process=process)
    logs.close()
    found = {path.name: texts(path) for path in tmp_path.glob("*.log")}
    assert found == {
        "richmond.log": ["of master", "of spawner"],
        "richmond.EchoWorker.log": ["of EchoWorker:0", "of EchoWorker:1"],
        "richmond.Other.log": ["of Other:0"],
    }


def test_a_file_that_would_grow_too_large_is_rotated_and_so_many_are_kept(make, tmp_path):
    logs = make("log-max-bytes = 200\nlog-backups = 2")
    said = [f"line {number:03}" for number in range(40)]
    say(logs, *said)
    logs.close()
    files = [tmp_path / name for name in ("richmond.log.2", "richmond.log.1", "richmond.log")]
    assert sorted(tmp_path.glob("*.log*")) == sorted(files)
    assert all(path.stat().st_size <= 200 for path in files)
    kept = [text for path in files for text in texts(path)]
    assert 8 <= len(kept) <= 12
    assert kept == said[-len(kept) :]
    assert logs.dropped == 0


def test_without_backups_a_full_file_begins_anew(make, tmp_path):
    logs = make("log-max-bytes = 200\nlog-backups = 0")
    say(logs, *(f"line {number:03}" for number in range(40)))
    logs.close()
    assert [path.name for path in tmp_path.glob("*.log*")] == ["richmond.log"]
    assert texts(tmp_path / "richmond.log")[-1] == "line 039"
    assert (tmp_path / "richmond.log").stat().st_size <= 200


def test_zero_bytes_mean_no_rotation(make, tmp_path):
    logs = make("log-max-bytes = 0")
    say(logs, *("x" * 1000 for _ in range(1000)))
    logs.close()
    assert len(texts(tmp_path / "richmond.log")) == 1000


def test_a_file_that_cannot_be_rotated_grows_on_and_says_so(make, tmp_path):
    (tmp_path / "richmond.log.1").mkdir()
    (tmp_path / "richmond.log.1" / "x").touch()
    logs = make("log-max-bytes = 300\nlog-backups = 1")
    for number in range(20):
        say(logs, f"line {number:03}")
        wait_until(lambda: f"line {number:03}" in texts(tmp_path / "richmond.log"), "it to be written")  # noqa: B023
    found = texts(tmp_path / "richmond.log")
    assert [text for text in found if text.startswith("line")] == [f"line {number:03}" for number in range(20)]
    complaints = [text for text in found if "cannot be rotated: Is a directory" in text]
    assert 1 <= len(complaints) <= 7, "not at every line"


def test_a_symbolic_link_is_rotated_where_it_leads_to(make, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "richmond.log").symlink_to(tmp_path / "disk" / "r.log")
    logs = make("log-max-bytes = 100\nlog-backups = 1")
    say(logs, "one" * 20, "two" * 20)
    logs.close()
    assert texts(tmp_path / "disk" / "r.log.1") == ["one" * 20]
    assert texts(tmp_path / "richmond.log") == ["two" * 20]
    assert (tmp_path / "richmond.log").is_symlink()


def test_somebody_elses_rotation_is_followed_without_being_told(make, tmp_path):
    path, old = tmp_path / "richmond.log", tmp_path / "old"
    logs = make()
    say(logs, "one")
    wait_until(lambda: texts(path) == ["one"], "the first line")
    path.rename(old)
    say(logs, "two")
    wait_until(lambda: texts(path) == ["two"], "the second")
    assert texts(old) == ["one"]


def test_told_of_a_rotation_it_makes_the_new_file_at_once(make, tmp_path):
    path = tmp_path / "richmond.log"
    logs = make()
    say(logs, "one")
    wait_until(lambda: texts(path) == ["one"], "the first line")
    path.unlink()
    logs.reopen()
    wait_until(path.exists, "the new file")


def test_json_is_one_object_a_line(make, tmp_path):
    logs = make("log-format = json")
    say(logs, "one\ntwo", process="EchoWorker:3")
    logs.close()
    (line,) = (tmp_path / "richmond.log").read_text().splitlines()
    found = json.loads(line)
    assert (found["text"], found["class"], found["slot"], found["level"]) == ("one\ntwo", "EchoWorker", 3, "INFO")


def test_other_settings_hold_from_the_next_line_on(make, tmp_path):
    logs = make()
    say(logs, "here")
    wait_until(lambda: texts(tmp_path / "richmond.log") == ["here"], "the first line")
    logs.configure(make.settings("log = there.log\nlog-format = json\nlog-files = per-class"))
    say(logs, "there")
    say(logs, "elsewhere", process="EchoWorker:0")
    logs.close()
    assert texts(tmp_path / "richmond.log") == ["here"]
    assert json.loads((tmp_path / "there.log").read_text())["text"] == "there"
    assert json.loads((tmp_path / "there.EchoWorker.log").read_text())["text"] == "elsewhere"


def test_a_file_that_cannot_be_opened_is_an_error_and_changes_nothing(make, tmp_path):
    logs = make()
    with pytest.raises(FileNotFoundError):
        logs.configure(make.settings("log = nowhere/richmond.log"))
    say(logs, "still here")
    logs.close()
    assert texts(tmp_path / "richmond.log") == ["still here"]
    with pytest.raises(FileNotFoundError):
        make("log = nowhere/richmond.log")


def test_a_full_disk_costs_lines_and_the_log_says_how_many_once_it_has_room(make, tmp_path):
    logs = make()
    path = tmp_path / "richmond.log"
    with files_no_larger_than(100):
        say(logs, *(f"line {number}" for number in range(10)))
        wait_until(lambda: logs.dropped, "lines to be dropped")
        say(logs, "line 10")
        wait_until(lambda: logs.dropped >= 9, "all to be dropped that have no room")
        kept = 11 - logs.dropped
    say(logs, "room again")
    logs.close()
    *lines, notice, last = texts(path)
    assert lines == [f"line {n}" for n in range(kept)]
    assert notice.startswith(f"{logs.dropped} log lines are lost: ")
    assert last == "room again"


def test_what_a_full_disk_cost_is_said_in_the_next_file_too(make, tmp_path):
    logs = make("log = full.log")
    (tmp_path / "full.log").unlink()
    (tmp_path / "full.log").symlink_to("/dev/full")
    say(logs, "lost")
    wait_until(lambda: logs.dropped == 1, "the count")
    logs.configure(make.settings("log = other.log"))
    say(logs, "kept")
    logs.close()
    assert texts(tmp_path / "other.log") == ["1 log lines are lost: No space left on device", "kept"]


def test_what_has_been_said_of_lost_lines_is_not_said_again(tmp_path):
    file = LogFile(tmp_path / "x.log", lambda text: f"{text}\n".encode())
    with files_no_larger_than(5):
        assert file.append([b"one\n", b"two\n", b"three\n"]) == 2
    with files_no_larger_than(5 + 2 + len("2 log lines are lost: the file takes no more") + 3):
        assert file.append([b"four\n"]) == 1
    assert file.append([b"five\n"]) == 0
    assert (tmp_path / "x.log").read_text() == (
        "one\nt\n2 log lines are lost: the file takes no more\n"
        "fou\n1 log lines are lost: the file takes no more\nfive\n"
    )
    file.close()


def test_a_directory_that_has_gone_costs_lines_and_they_are_counted(make, tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    logs = make("log = logs/richmond.log")
    say(logs, "here")
    wait_until(lambda: texts(place / "richmond.log") == ["here"], "the first line")
    gone = place.rename(tmp_path / "gone")
    say(logs, "lost", "lost too")
    wait_until(lambda: logs.dropped == 2, "the count")
    gone.rename(place)
    say(logs, "back")
    logs.close()
    assert texts(place / "richmond.log") == ["here", "2 log lines are lost: No such file or directory", "back"]


def test_a_disk_that_hangs_is_not_waited_for_and_the_oldest_lines_that_wait_are_dropped(make, tmp_path, monkeypatch):
    """A pipe that nobody reads: to write to it takes for ever, as to a network disk that has gone."""
    monkeypatch.setattr(log_files, "QUEUE_BYTES", 100_000)
    path = tmp_path / "richmond.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    logs = make()
    said = [f"line {number:06}" for number in range(10_000)]
    say(logs, *said)  # returns
    wait_until(lambda: logs.dropped, "lines to be dropped")
    found = bytearray()

    def read():
        os.set_blocking(reader, True)
        while data := os.read(reader, 65536):
            found.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: b"line 009999" in found, "the newest line")
    logs.close(30)
    thread.join(10)
    assert not thread.is_alive()
    os.close(reader)
    records = [parse(line).text for line in found.decode().splitlines()]
    kept = [text for text in records if text.startswith("line ")]
    assert kept == sorted(set(kept))
    assert len(kept) + logs.dropped == len(said)
    notices = [text.split(" ", 1) for text in records if "lost" in text]
    assert {why for _, why in notices} == {"log lines are lost: they came faster than they could be written"}
    assert sum(int(count) for count, _ in notices) == logs.dropped


def test_a_process_that_ends_says_its_last_words_but_does_not_wait_for_a_disk_that_hangs(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from richmond import log; from richmond.config import load; from richmond.log_files import LogFiles\n"
        "log.setup(LogFiles(load(Path(sys.argv[1]), {}).richmond), 'info', False)\n"
        "for n in range(5_000): log.msg('word', n)\n"
    )
    ini = tmp_path / "richmond.ini"
    ini.write_text("[richmond]\ndirectory = .\n[worker:EchoWorker]\n")
    command = [sys.executable, "-c", code, str(ini)]
    path = tmp_path / "richmond.log"
    subprocess.run(command, timeout=30, check=True)
    assert texts(path)[-1] == "word 4999"
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        subprocess.run(command, timeout=30, check=True)
    finally:
        os.close(reader)


def test_the_thread_is_the_systems_own_where_gevent_has_patched_threads(tmp_path):
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, os; from pathlib import Path\n"
        "from richmond import log; from richmond.config import load; from richmond.log_files import LogFiles\n"
        "logs = LogFiles(load(Path(sys.argv[1]), {}).richmond)\n"
        "log.setup(logs, 'info', False)\n"
        "log.msg('x' * 100_000)\n"
        "import time; ends = time.monotonic() + 30\n"
        "while not os.stat(sys.argv[2]).st_size > 100_000: assert time.monotonic() < ends\n"  # no greenlet gets a turn
    )
    ini = tmp_path / "richmond.ini"
    ini.write_text("[richmond]\ndirectory = .\n[worker:EchoWorker]\n")
    subprocess.run([sys.executable, "-c", code, str(ini), str(tmp_path / "richmond.log")], timeout=60, check=True)


def test_standard_error_may_be_slow_but_gets_every_line(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from richmond import log; from richmond.config import load; from richmond.log_files import LogFiles\n"
        "logs = LogFiles(load(Path(sys.argv[1]), {}).richmond); log.setup(logs, 'info', False)\n"
        "for n in range(5_000): log.msg('word', n)\n"
        "logs.close(60); print(log.dropped())\n"
    )
    ini = tmp_path / "richmond.ini"
    ini.write_text("[richmond]\ndirectory = .\nlog = stderr\n[worker:EchoWorker]\n")
    with subprocess.Popen([sys.executable, "-c", code, str(ini)], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        lines = p.stderr.read().decode().splitlines()
        assert [parse(line).text for line in lines] == [f"word {n}" for n in range(5_000)]
        assert p.stdout.read() == b"0\n"


def test_descriptors_and_threads_are_back_where_they_were_when_it_is_closed(make):
    def open_now():
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    before = open_now()
    logs = make("log-files = per-class")
    say(logs, "x", process="EchoWorker:0")
    logs.reopen()
    logs.close(30)
    wait_until(lambda: open_now() == before, f"{before}, not {open_now()}")


def test_a_record_that_got_out_in_part_is_not_continued_by_the_next():
    read, write = os.pipe()
    os.set_blocking(write, False)
    stderr = os.dup(2)
    os.dup2(write, 2)
    try:
        file = LogFile(None, str.encode, patient=False)
        file.open()
        assert file.append([b"a" * 100_000 + b"\n"]) == 1
        assert os.read(read, 1 << 20) == b"a" * 65536
        assert file.append([b"next\n"]) == 0
        assert os.read(read, 1 << 20) == b"\n1 log lines are lost: the file takes no morenext\n"
        file.close()
    finally:
        os.dup2(stderr, 2)
        for fd in (stderr, read, write):
            os.close(fd)


def test_a_signal_in_the_middle_of_everything_harms_nothing(make, tmp_path):
    logs = make()
    before = signal.signal(signal.SIGUSR1, lambda *_: logs.reopen())
    try:
        for number in range(200):
            say(logs, f"line {number}")
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    logs.close(30)
    assert texts(tmp_path / "richmond.log") == [f"line {number}" for number in range(200)]
